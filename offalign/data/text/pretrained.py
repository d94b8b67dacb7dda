"""Reading a tokenizer.json and the names of its special tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from offalign.data.text import end_tokens
from offalign.errors import UserError
from offalign.files import read_object

_NAMES = (
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
)
_SETTINGS = (
  "chat_template_names",
  "tokenizer_class",
  "role_markers",
  "is_encoder_decoder",
  "template_vars",
)
END_IDS = "end_token_ids"
"""Key of the end tokens that a model's own files name, see `end_tokens`."""
MOST_IDS = 1 << 24
"""Above the largest id of a token; the largest vocabularies have a million."""


TEMPLATES = ("chat_template", "tool_use_template")
"""What the templates are called in what is known of a tokenizer."""


def read(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
  """Reads a tokenizer.json, or the one in a folder.

  Returns:
    The backend, and what is known of its special tokens.

  Raises:
    UserError: where the file is absent or no tokenizer.
  """
  file = path / "tokenizer.json" if path.is_dir() else path
  if not file.is_file():
    raise UserError(
      f"there is no tokenizer {str(path)!r}: give 'byte', 'bpe', a "
      "tokenizer.json or a folder that holds one"
    )
  try:
    backend = tokenizers.Tokenizer.from_file(str(file))
  except Exception as error:  # the library raises bare Exception
    raise UserError(f"{file} is no tokenizer.json: {error}") from error
  # The library makes room for every id up to the largest where it writes.
  largest = max(backend.get_vocab().values(), default=0)
  if largest >= MOST_IDS:
    raise UserError(
      f"{file} has a token whose id is {largest:,}, and ids go up to "
      f"{MOST_IDS:,} here: the file is damaged, fetch it again"
    )
  special = _json(file.parent / "special_tokens_map.json")
  config = _json(file.parent / "tokenizer_config.json")
  known: dict[str, Any] = {}
  for name in _NAMES:
    token = config.get(name) or special.get(name)
    if token is not None:
      known[name] = _content(token, name, file)
  model = _json(file.parent / "config.json")
  settings = model | config
  known |= {name: settings[name] for name in _SETTINGS if name in settings}
  _check_settings(known, file)
  _check_added(backend, config, file)
  if ends := _ends(backend, known, config, model, file):
    known[END_IDS] = ends
  known |= _template(config, file.parent)
  return backend, known


def _ends(
  backend: tokenizers.Tokenizer,
  known: dict[str, Any],
  config: dict[str, Any],
  model: dict[str, Any],
  file: Path,
) -> list[int]:
  """The end tokens but for eos_token that the files beside it name."""
  generation = file.parent / "generation_config.json"
  saved = {end_tokens.KEY: config.get(END_IDS)}
  found = (
    *end_tokens.ids_of(saved, str(file.parent / "tokenizer_config.json")),
    *end_tokens.ids_of(_json(generation), str(generation)),
    *end_tokens.ids_of(model, str(file.parent / "config.json")),
  )
  eos = special_id(backend, known, "eos_token")
  ends = end_tokens.known(backend, tuple(dict.fromkeys(found)))
  return [i for i in ends if i != eos]


def _check_added(
  backend: tokenizers.Tokenizer, config: dict[str, Any], file: Path
) -> None:
  """Refuses a tokenizer.json without what tokenizer_config.json adds."""
  added = config.get("added_tokens_decoder") or {}
  if not isinstance(added, dict):
    raise UserError(f"{file.parent}: added_tokens_decoder is no JSON object")
  for key, token in added.items():
    content = _content(token, f"token {key}", file)
    if str(backend.token_to_id(content)) != key:
      raise UserError(
        f"tokenizer_config.json has {content!r} as token {key}, and {file} "
        f"as {backend.token_to_id(content)}; save both anew with transformers"
      )


def _content(token: Any, name: str, file: Path) -> str:
  """The text of a special token, which may stand in an object."""
  content = token.get("content") if isinstance(token, dict) else token
  if not isinstance(content, str):
    raise UserError(
      f"{file.parent / 'tokenizer_config.json'}: {name} is "
      f"{_shown(content)}, not text"
    )
  return content


def _check_settings(known: dict[str, Any], file: Path) -> None:
  """Refuses settings of a type that they cannot have."""
  kinds: dict[str, tuple[type, str]] = {
    "tokenizer_class": (str, "text"),
    "template_vars": (str, "text"),
    "role_markers": (dict, "a JSON object"),
    "is_encoder_decoder": (bool, "true or false"),
  }
  for name, (kind, what) in kinds.items():
    if known.get(name) is None:
      known.pop(name, None)
    elif not isinstance(known[name], kind):
      raise UserError(
        f"{file.parent}: {name} is {_shown(known[name])}, where {what} belongs"
      )
  for role, marker in known.get("role_markers", {}).items():
    _content(marker, f"the role marker of {role!r}", file)


def _shown(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 40 else text[:40] + "..."


def _template(config: dict[str, Any], folder: Path) -> dict[str, Any]:
  """The chat templates, or the names of those that are not used."""
  found = config.get("chat_template") or {}
  templates: dict[str, str] = {}
  if isinstance(found, str):
    templates["default"] = found
  elif isinstance(found, dict):
    templates |= found
  else:
    try:
      templates |= {each["name"]: each["template"] for each in found}
    except (KeyError, TypeError):
      raise UserError(
        f"{folder / 'tokenizer_config.json'}: chat_template is neither text "
        "nor a list of objects with 'name' and 'template'"
      ) from None
  for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
    templates[path.stem] = _text(path)
  file = folder / "chat_template.jinja"
  if file.is_file():
    templates["default"] = _text(file)
  if isinstance(config.get("tool_use_template"), str):
    templates.setdefault("tool_use", config["tool_use_template"])
  if "default" in templates:
    # As in `transformers`, the second is for conversations with tools.
    named = zip(TEMPLATES, ("default", "tool_use"), strict=True)
    return {key: templates[name] for key, name in named if name in templates}
  return {"chat_template_names": sorted(templates)} if templates else {}


def special_tokens(config: dict[str, Any]) -> dict[str, str]:
  """What a chat template may call them -> the tokens: "bos_token" -> "<s>"."""
  return {name: config[name] for name in _NAMES if name in config}


def _text(path: Path) -> str:
  try:
    return path.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise UserError(f"{path} is not text in UTF-8: {error}") from error


def _json(path: Path) -> dict[str, Any]:
  return read_object(path) if path.is_file() else {}


def special_id(
  backend: tokenizers.Tokenizer, config: dict[str, Any], name: str
) -> int | None:
  """The id of a named special token; None where none is named.

  Raises:
    UserError: where it is named but not in the vocabulary.
  """
  token = config.get(name)
  if token is None:
    return None
  found = backend.token_to_id(token)
  if found is None:
    raise UserError(
      f"the tokenizer's {name} {token!r} is not in its vocabulary"
    )
  return int(found)


def around(
  backend: tokenizers.Tokenizer, config: dict[str, Any]
) -> tuple[list[int], list[int]]:
  """What the tokenizer puts before and after the text of a prompt.

  The file's post-processor decides, as in `transformers` 5, which reads
  add_bos_token no more. A BOS before the text is kept. An EOS after it is
  what an encoder expects; for any other model it would end the prompt before
  the completion, so it is not kept.
  """
  is_encoder = config.get("is_encoder_decoder", False) or (
    "T5" in config.get("tokenizer_class", "")
  )
  encoding = backend.encode("x", add_special_tokens=True)
  added = encoding.special_tokens_mask
  text = [i for i, special in enumerate(added) if not special]
  if not text:
    return list(encoding.ids), []
  return (
    list(encoding.ids[: text[0]]),
    list(encoding.ids[text[-1] + 1 :]) if is_encoder else [],
  )


def role_marker_ids(
  backend: tokenizers.Tokenizer, config: dict[str, Any]
) -> dict[str, int]:
  """Role -> id of its marker, for tokenizers of our own; else empty.

  Raises:
    UserError: where a marker is not in the vocabulary.
  """
  ids = {}
  for role, marker in config.get("role_markers", {}).items():
    found = backend.token_to_id(marker)
    if found is None:
      raise UserError(
        f"the tokenizer's role marker {marker!r} is not in its vocabulary"
      )
    ids[role] = int(found)
  return ids


def make_special(backend: tokenizers.Tokenizer, tokens: Iterable[str]) -> None:
  """Makes tokens special that are in the vocabulary and are not."""
  special = {
    token.content
    for token in backend.get_added_tokens_decoder().values()
    if token.special
  }
  backend.add_special_tokens(
    [
      token
      for token in tokens
      if token not in special and backend.token_to_id(token) is not None
    ]
  )


def why_no_chat(config: dict[str, Any]) -> str:
  """Why a tokenizer without a chat template refuses conversations."""
  names = config.get("chat_template_names")
  if names:
    return (
      "the data holds conversations, and the tokenizer's chat templates are "
      f"named {', '.join(map(repr, names))}, none of them 'default'; write "
      "the one you want into a chat_template.jinja beside its tokenizer.json"
    )
  return (
    "the data holds conversations, and this tokenizer has no chat template "
    "for them; put a chat_template.jinja beside its tokenizer.json, or use "
    "plain text, or the tokenizer 'byte' or 'bpe'"
  )
