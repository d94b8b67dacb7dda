"""Export what a run trained, as a folder that `transformers` or `peft` reads.

A policy becomes a language model, and a reward model a classifier of one
label.
"""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from offalign import models, spec
from offalign.data import Tokenizer
from offalign.data.text import pretrained
from offalign.distributed import sharding
from offalign.errors import UserError, concerning, option
from offalign.files import read_object
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf import (
  classifier,
  own_decoder,
  peft_adapter,
  t5_family,
)
from offalign.models.hf.folder import (
  GENERATION,
  TOKENIZER,
  copy_companions,
  read_config,
  whole_or_nothing,
)
from offalign.models.hf.token_settings import (
  TokenIds,
  read_generation,
  write_generation,
)
from offalign.policy import (
  adapters,
  card,
  origin,
  recorded_code,
  start,
  trained_rewards,
)
from offalign.policy.folder import TOKENIZER as FOLDER_OF_TOKENIZER
from offalign.types import Params

DTYPES = ("float32", "bfloat16")
MAX_SHARD_SIZE = hf.MAX_SHARD_SIZE
_OWN: dict[str, Callable[[Any], dict[str, Any]]] = {
  "decoder": own_decoder.to_hf,
  "t5": t5_family.to_hf,
}
_NO_BIAS = 1e-6  # a bias below this is rounding


def write(
  folder: pathlib.Path,
  about: dict[str, Any],
  step: int,
  out: pathlib.Path,
  *,
  params: Callable[[], Params] | None,
  dtype: str = "float32",
  max_shard_size: int = MAX_SHARD_SIZE,
) -> list[str]:
  """Writes what a run's checkpoint holds; see `Policy.export`.

  Args:
    folder: the run folder; nothing else is needed.
    about: the run.json.
    step: of the checkpoint.
    out: a new folder; it is written whole or not at all.
    params: gives the weights of a policy; None = write what LoRA trained
      alone.
    dtype: of the file's weights; the run's are float32.
    max_shard_size: bytes above which there is more than one file of weights.

  Returns:
    Sentences about what the folder does not hold.

  Raises:
    UserError: see `Policy.export`.
  """
  if dtype not in DTYPES:
    raise UserError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
  config = _config(folder, about)
  rewards = trained_rewards.is_reward_model(folder, about)
  if rewards:
    _check_rewards(folder, about, config)
  said: list[str] = []
  with whole_or_nothing(out) as part:
    model = start.model_of(folder, about)
    tokenizer = Tokenizer.load(folder / FOLDER_OF_TOKENIZER)
    ids = _ids(folder, config, model, tokenizer)
    named = ids.put(config)
    size: dict[str, Any] = {"dtype": dtype, "max_shard_size": max_shard_size}
    if params is None:
      _write_adapter(part, folder, about, config, model, dtype, step)
    elif rewards:
      mesh = sharding.one_device()
      trunk, head = start.reward_model(folder, model, mesh, step)
      kernel = _kernel(folder, head)
      classifier.write(part, named, model, trunk, kernel, **size)
    else:
      hf.write(part, named, model, params(), **size)
    kept = folder / origin.FOLDER
    copy_companions(kept, part)
    if not (part / "tokenizer.json").exists():
      _copy_tokenizer(folder / FOLDER_OF_TOKENIZER, part)
    _copy_templates(folder / FOLDER_OF_TOKENIZER, part)
    base = about["config"]["model"] if params is None else None
    if rewards:
      (part / GENERATION).unlink(missing_ok=True)
      _name_padding(part, ids)
      _write_card(part, card.of_rewards(ids, base))
    else:
      generation = read_generation(kept, config)
      write_generation(part, generation, ids)
      if base is not None:
        encodes = bool(config.get("is_encoder_decoder"))
        _write_card(part, card.of_adapter(base, ids, encodes))
        if ids.put(generation) != generation:
          said.append(
            f"peft generates by the base model's settings, which do not stop "
            f"at {ids.eos} as training did: {out / card.FILE} says how to give "
            "it this folder's"
          )
  if not rewards and (folder / "checkpoints" / str(step) / "value").is_dir():
    said.append(
      f"the value function that {about['loss']} trained stays in {folder}: "
      f"{out} has the policy alone"
    )
  return said


def _check_rewards(
  folder: pathlib.Path, about: dict[str, Any], config: dict[str, Any]
) -> None:
  """Refuses a reward model that no classifier of transformers computes."""
  with concerning(_no_classifier(folder)):
    classifier.class_of(config)
    per = trained_rewards.value_of(about).per
    if per != "completion":
      raise UserError(
        f"it was trained with {option('value.per', per)}, and a classifier "
        "reads the last token alone"
      )


def _kernel(folder: pathlib.Path, head: Params) -> np.ndarray:
  """The head's map, where that is all of the head."""
  bias = float(head["bias"])
  if abs(bias) > _NO_BIAS:
    raise UserError(
      f"{_no_classifier(folder)}: its head has a bias of {bias:.4g}, for which "
      "a classifier has no place; bradley_terry with center=0 trains none"
    )
  return np.asarray(head["kernel"])


def _no_classifier(folder: pathlib.Path) -> str:
  return (
    f"{folder} trained a reward model that transformers cannot compute; judge "
    f"with reward_model(run={str(folder)!r}) instead"
  )


def _ids(
  folder: pathlib.Path,
  config: dict[str, Any],
  model: Model,
  tokenizer: Tokenizer,
) -> TokenIds:
  """The ids that the exported files are to name."""
  begins = None
  if config["model_type"] == "t5":
    begins = t5_family.from_hf(config).start
  pad = tokenizer.pad_id
  return TokenIds(
    ends=tokenizer.end_ids,
    # A few tokenizers have more entries than the embedding has rows.
    pad=pad if pad < model.vocab_size else tokenizer.eos_id,
    bos=tokenizer.bos_id,
    foreign=not (folder / origin.FOLDER / "tokenizer.json").is_file(),
    start=begins,
  )


def _name_padding(part: pathlib.Path, ids: TokenIds) -> None:
  """Has the tokenizer pad with what the classifier takes for padding."""
  backend, known = pretrained.read(part)
  if "pad_token" not in known:
    file = part / "tokenizer_config.json"
    written = {}
    if file.is_file():
      written = json.loads(file.read_text(encoding="utf-8"))
    written["pad_token"] = backend.id_to_token(ids.pad)
    file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _write_card(part: pathlib.Path, text: str) -> None:
  (part / card.FILE).write_text(text, encoding="utf-8")


def _write_adapter(
  part: pathlib.Path,
  folder: pathlib.Path,
  about: dict[str, Any],
  config: dict[str, Any],
  model: Model,
  dtype: str,
  step: int,
) -> None:
  lora = adapters.config_of(about)
  if lora is None:
    raise UserError(
      f"{folder} trained all weights, so it has no adapter: export it without "
      f"{option('adapter')}"
    )
  known = about["config"]
  if known["init"] is not None:
    raise UserError(
      f"{folder} trained adapters for the run {known['init']}, which nothing "
      f"but offalign can load: export it without {option('adapter')}, or "
      "export that run first and train with model=ITS_FOLDER"
    )
  if not origin.is_kept(about["model"]):
    raise UserError(
      f"{folder} trained adapters for {about['start']}, which is in no folder "
      f"that they could be loaded with: export it without {option('adapter')}"
    )
  mesh = sharding.one_device()
  kernel = None
  if trained_rewards.is_reward_model(folder, about):
    trained, head = trained_rewards.restore(folder, about, model, mesh, step)
    kernel = _kernel(folder, head)
  else:
    trained = adapters.restore(folder, model, lora, mesh, step)
  peft_adapter.write_adapter(
    part,
    config,
    model,
    lora,
    trained,
    base=known["model"],
    kernel=kernel,
    dtype=dtype,
  )


def _config(folder: pathlib.Path, about: dict[str, Any]) -> dict[str, Any]:
  """The config.json of a run's model."""
  if origin.is_kept(about["model"]):
    return read_config(folder / origin.FOLDER)
  recorded_code.check_model(folder, about)
  name, _ = spec.parse(about["model"], what="model")
  config = models.configure(about["model"], vocab_size=about["vocab_size"])
  if name not in _OWN:
    raise UserError(
      f"{folder} trained {about['model']}, which is none of Hugging Face's "
      "architectures: only a decoder(...), a t5(...), or a run that began with "
      "a Hugging Face model, can be exported"
    )
  with concerning(f"{folder} trained {about['model']}"):
    return _OWN[name](config)


def _copy_templates(source: pathlib.Path, folder: pathlib.Path) -> None:
  """Writes the chat templates of a run that was given variables of them."""
  file = source / "tokenizer_config.json"
  known = json.loads(file.read_text(encoding="utf-8"))
  if "template_vars" not in known:
    return
  (folder / "chat_template.jinja").write_text(
    known["chat_template"], encoding="utf-8"
  )
  if "tool_use_template" in known:
    more = folder / "additional_chat_templates"
    more.mkdir(exist_ok=True)
    (more / "tool_use.jinja").write_text(
      known["tool_use_template"], encoding="utf-8"
    )


def _copy_tokenizer(source: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies the run's own tokenizer, with the class that reads any."""
  for name in TOKENIZER:
    if (source / name).is_file():
      shutil.copyfile(source / name, folder / name)
  file = folder / "tokenizer_config.json"
  config = read_object(file)
  config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
  file.write_text(json.dumps(config, indent=2), encoding="utf-8")
