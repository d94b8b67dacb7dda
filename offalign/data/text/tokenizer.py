"""Text to tokens and back, over the `tokenizers` library.

Text that spells a special token is ordinary text. How prompts and completions
are laid out is told in `texts`, and of conversations with a chat template in
`conversations`. The tokens of a prompt are always a prefix of prompt plus
completion.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from offalign.data.reading.records import Prompt
from offalign.data.text import (
  byte_level,
  end_tokens,
  pretrained,
  role_markers,
)
from offalign.data.text import template_vars as variables
from offalign.data.text.boundary import Boundaries
from offalign.data.text.chat_template import ChatTemplate
from offalign.data.text.conversations import Conversations
from offalign.data.text.layout import Encoded, Layout
from offalign.data.text.plain_text import Texts
from offalign.data.text.special_tokens import Plain
from offalign.errors import UserError, option


class Tokenizer:
  """Encodes prompts and completions; made by `make` or its class methods.

  Attributes:
    vocab_size: V, one more than the largest id.
    pad_id: fills what masks hide; may equal another id.
    eos_id: ends a completion of plain text.
    end_ids: whatever may end a completion: eos_id, the tokens that end a turn
      of the chat template, and one of tool calls, and those that the model's
      generation_config.json and config.json name; each once.
    bos_id: or None.
  """

  def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any]):
    """Wraps a backend; `config` is what `tokenizer_config.json` holds.

    Raises:
      UserError: where a special token is not in the vocabulary, or no
        end-of-sequence token is named, or the chat template is not valid.
    """
    # A file may carry these settings; each would change tokens unseen.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    pretrained.make_special(backend, pretrained.special_tokens(config).values())
    named = tuple(config.get(pretrained.END_IDS, ()))
    # Text that spells one of them must not end a completion.
    pretrained.make_special(backend, end_tokens.added(backend, named))
    self._backend = backend
    self._config = config
    self.vocab_size = max(backend.get_vocab().values()) + 1
    eos = pretrained.special_id(backend, config, "eos_token")
    if eos is None and named:
      eos = named[0]
    if eos is None:
      raise UserError(
        "the tokenizer names no end-of-sequence token; add 'eos_token' to the "
        "tokenizer_config.json beside its tokenizer.json"
      )
    pad = pretrained.special_id(backend, config, "pad_token")
    self.eos_id = eos
    self.pad_id = eos if pad is None else pad
    self.bos_id = pretrained.special_id(backend, config, "bos_token")
    self._layout = self._make_layout()
    chat = self._layout.chat
    ends = [eos] if chat is None else [eos, chat.end_id, chat.call_end_id]
    self.end_ids = tuple(dict.fromkeys([*ends, *named]))
    if set(named) <= set(ends):  # nothing that would not be known without
      self._config = {
        k: v for k, v in config.items() if k != pretrained.END_IDS
      }

  def _make_layout(self) -> Layout:
    config, backend = self._config, self._backend
    template, end, call_end = None, None, None
    if "chat_template" in config:
      special = pretrained.special_tokens(config)
      with_tools = config.get("tool_use_template")
      template = ChatTemplate(config["chat_template"], special, with_tools)
      marks = []
      # One that writes nothing is not tried further: it may be slow to fail.
      if written := role_markers.written(template):
        end = role_markers.find_end(backend, written)
        call_end = role_markers.find_call_end(backend, template, end)
        marks = role_markers.find(backend, template)
      # Text that spells one must not begin or end a turn.
      marks += [
        str(backend.id_to_token(i)) for i in (end, call_end) if i is not None
      ]
      pretrained.make_special(backend, marks)
    try:
      apart = tokenizers.Tokenizer.from_str(backend.to_str())
    except Exception as error:  # the library raises bare Exception
      raise UserError(
        f"the tokenizer.json contradicts itself ({error}); save it anew with "
        "transformers"
      ) from error
    plain = Plain(apart, config.get("unk_token"))
    chat = None
    if template is not None:
      end = self.eos_id if end is None else end
      ends = end, end if call_end is None else call_end
      chat = Conversations(backend, plain, template, self.bos_id, *ends)
    markers = pretrained.role_marker_ids(backend, config)
    before, after = pretrained.around(backend, config)
    texts = Texts(plain, markers, before, after, self.eos_id)
    return Layout(texts, chat, self.bos_id, pretrained.why_no_chat(config))

  @classmethod
  def byte(cls) -> "Tokenizer":
    """Bytes as tokens: no training, any text."""
    return cls(byte_level.byte(), byte_level.CONFIG)

  @classmethod
  def bpe(
    cls, texts: Iterable[str], vocab_size: int = byte_level.DEFAULT_VOCAB_SIZE
  ) -> "Tokenizer":
    """Byte-pair encoding of bytes, trained on `texts`.

    Args:
      texts: the training texts. Few or short ones may give fewer tokens than
        asked for; see the attribute `vocab_size`.
      vocab_size: specials and bytes included.

    Raises:
      UserError: for a vocabulary too small to hold every byte.
    """
    return cls(byte_level.bpe(texts, vocab_size), byte_level.CONFIG)

  @classmethod
  def load(cls, path: str | Path) -> "Tokenizer":
    """Reads a tokenizer.json, or a folder that holds one.

    The names of the special tokens come from tokenizer_config.json or
    special_tokens_map.json beside it.

    Raises:
      UserError: where there is none, or it cannot be used.
    """
    return cls(*pretrained.read(Path(path).expanduser()))

  def with_template_vars(self, text: str) -> "Tokenizer":
    """The tokenizer whose chat template is given variables.

    They are written into the template, so whoever has the tokenizer, an
    exported one too, has them.

    Args:
      text: such as "enable_thinking=false"; see `template_vars.parse`.

    Raises:
      UserError: where there is no template, or it has no such variable.
    """
    templates = {
      name: self._config[name]
      for name in pretrained.TEMPLATES
      if name in self._config
    }
    if not templates:
      raise UserError(
        f"{option('template_vars')} is set, but the tokenizer has no chat "
        "template to read it; leave it out"
      )
    values = variables.parse(text)
    variables.check(templates.values(), values)
    for name, template in templates.items():
      templates[name] = variables.fix(template, values)
    config = self._config | templates | {"template_vars": text}
    return Tokenizer(self._backend, config)

  def save(self, folder: str | Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(
      self._backend.to_str(pretty=True), encoding="utf-8"
    )
    (folder / "tokenizer_config.json").write_text(
      json.dumps(self._config, indent=2, sort_keys=True), encoding="utf-8"
    )

  @property
  def fingerprint(self) -> str:
    """16 hex digits that change with anything that changes tokens."""
    config = json.dumps(self._config, sort_keys=True)
    content = self._backend.to_str() + "\0" + config
    return hashlib.sha256(content.encode()).hexdigest()[:16]

  @property
  def has_template(self) -> bool:
    """Whether a chat template writes conversations."""
    return self._layout.chat is not None

  @property
  def probe(self) -> str:
    """What the chat template writes now; it may depend on the date."""
    return self._layout.probe()

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of each text, int32, with no special token added."""
    return self._layout.texts.plain.encode(texts)

  @property
  def chats(self) -> bool:
    """Whether conversations can be encoded, by a template or role markers."""
    return self._layout.chat is not None or bool(self._layout.texts.markers)

  def name_of(self, token: int) -> str:
    """The vocabulary's entry of a token; "" where it has none."""
    return self._backend.id_to_token(token) or ""

  def decode(self, ids: Iterable[int]) -> str:
    """Text of the tokens before the first end; special tokens are skipped."""
    kept = []
    for token in ids:
      if token in self.end_ids:
        break
      kept.append(int(token))
    return self._backend.decode(kept, skip_special_tokens=True)

  def encode_prompts(
    self, prompts: Sequence[Prompt], max_length: int | None = None
  ) -> tuple[list[np.ndarray], int]:
    """Tokens of each prompt, cut to the last `max_length`.

    What the layout puts at the very beginning (BOS) survives the cut. A
    prompt without any token is one of text "" whose tokenizer has no BOS.

    Returns:
      int32 arrays, and the number of prompts that were cut.

    Raises:
      UserError: for a conversation and a tokenizer without a chat template,
        one that the template refuses, or a `max_length` that leaves no room
        for text.
    """
    return self._layout.prompts(prompts, max_length)

  def cut_prompt(
    self, prompt: Prompt, tokens: np.ndarray, limit: int
  ) -> np.ndarray:
    """What `max_prompt=limit` leaves of a prompt's tokens.

    Args:
      prompt: the prompt.
      tokens: all of its tokens, as `encode_rows` makes them without a limit.
      limit: how many are kept, see `encode_prompts`.
    """
    return self._layout.cut_prompt(prompt, tokens, limit)

  def encode_rows(
    self,
    prompts: Sequence[Prompt],
    sequences: Sequence[tuple[int, str]],
    *,
    max_prompt: int | None = None,
    max_completion: int | None = None,
    boundaries: Boundaries | None = None,
    folder: Path | None = None,
  ) -> Encoded:
    """Tokens of prompts, as `encode_prompts`, and of completions of them.

    A completion is its text and one EOS; of a conversation, what the chat
    template writes for the assistant's turn, up to the token that ends it.
    One that is cut has no end: the model is not to learn to stop there.

    Args:
      prompts: distinct.
      sequences: (index of the prompt, text of the completion), distinct.
      max_prompt: keeps the last tokens of longer prompts; None = all.
      max_completion: keeps the first tokens of longer completions; None =
        all.
      boundaries: counts on, where given.
      folder: on whose disk tokens are kept that are too many for memory; see
        `offalign.data.text.spool`. None = all are in memory.

    Raises:
      UserError: as `encode_prompts`; for a `max_completion` below 1.
    """
    return self._layout.rows(
      prompts, sequences, max_prompt, max_completion, boundaries, folder
    )

  def encode_completions(
    self, texts: Sequence[str], max_length: int | None = None
  ) -> tuple[list[np.ndarray], int]:
    """Tokens of completions of plain text; see `encode_rows`.

    A completion that is cut has no EOS: the model is not to learn to stop
    there.

    Returns:
      int32 arrays, none empty, and the number of completions that were cut.

    Raises:
      UserError: for a `max_length` below 1.
    """
    found = self._layout.rows(
      [""], [(0, text) for text in texts], None, max_length
    )
    return list(found.completions), found.cut_completions


def make(
  spec: str, texts: Iterable[str] | None = None, vocab_size: int | None = None
) -> Tokenizer:
  """Returns the tokenizer that a spec names.

  Args:
    spec: "byte"; "bpe", trained on `texts`; or the path of a tokenizer.json
      or of a folder that holds one.
    texts: training texts, for "bpe".
    vocab_size: for "bpe"; None = `byte_level.DEFAULT_VOCAB_SIZE`.

  Raises:
    UserError: where the spec names nothing, or `vocab_size` is set for
      another than "bpe".
  """
  if vocab_size is not None and spec != "bpe":
    raise UserError(
      f"{option('vocab_size')} is set, but only tokenizer 'bpe' is trained, "
      f"not {spec!r}; leave it out"
    )
  if spec == "byte":
    return Tokenizer.byte()
  if spec == "bpe":
    if texts is None:
      raise UserError("tokenizer 'bpe' is trained: it needs texts")
    return Tokenizer.bpe(texts, vocab_size or byte_level.DEFAULT_VOCAB_SIZE)
  return Tokenizer.load(spec)
