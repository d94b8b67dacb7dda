"""Export a policy to a model folder, as `transformers` or `peft` reads it."""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from offalign import models
from offalign.data import Tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError, option
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf import peft_adapter, t5_family
from offalign.models.hf.folder import (
  TOKENIZER,
  copy_companions,
  read_config,
  whole_or_nothing,
)
from offalign.models.t5.config import T5Config
from offalign.policy import adapters, origin, recorded_code, start
from offalign.types import Params

DTYPES = ("float32", "bfloat16")
MAX_SHARD_SIZE = hf.MAX_SHARD_SIZE


def write(
  folder: pathlib.Path,
  about: dict[str, Any],
  step: int,
  out: pathlib.Path,
  *,
  params: Callable[[], Params] | None,
  dtype: str = "float32",
  max_shard_size: int = MAX_SHARD_SIZE,
) -> None:
  """Writes the policy of a run's checkpoint; see `Policy.export`.

  Args:
    folder: the run folder; nothing else is needed.
    about: the run.json.
    step: of the checkpoint.
    out: a new folder; it is written whole or not at all.
    params: gives the weights; None = write what LoRA trained alone.
    dtype: of the file's weights; the run's are float32.
    max_shard_size: bytes above which there is more than one file of weights.

  Raises:
    UserError: see `Policy.export`.
  """
  if dtype not in DTYPES:
    raise UserError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
  config = _config(folder, about)
  with whole_or_nothing(out) as part:
    model = start.model_of(folder, about)
    if params is None:
      _write_adapter(part, folder, about, config, model, dtype, step)
    else:
      hf.write(
        part,
        config,
        model,
        params(),
        dtype=dtype,
        max_shard_size=max_shard_size,
      )
    copy_companions(folder / origin.FOLDER, part)
    if not (part / "tokenizer.json").exists():
      _copy_tokenizer(folder / "tokenizer", part)
    _copy_templates(folder / "tokenizer", part)


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
  peft_adapter.write_adapter(
    part,
    config,
    model,
    lora,
    adapters.restore(folder, model, lora, sharding.one_device(), step),
    base=known["model"],
    dtype=dtype,
  )


def _config(folder: pathlib.Path, about: dict[str, Any]) -> dict[str, Any]:
  """The config.json of a run's model."""
  if origin.is_kept(about["model"]):
    return read_config(folder / origin.FOLDER)
  recorded_code.check_model(folder, about)
  config = models.configure(about["model"], vocab_size=about["vocab_size"])
  if not isinstance(config, T5Config):
    raise UserError(
      f"{folder} trained {about['model']}, which is none of Hugging Face's "
      "architectures: only a t5(...), or a run that began with a Hugging Face "
      "model, can be exported"
    )
  tokenizer = Tokenizer.load(folder / "tokenizer")
  return t5_family.to_hf(config) | {"eos_token_id": tokenizer.eos_id}


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
  config = json.loads(file.read_text(encoding="utf-8"))
  config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
  file.write_text(json.dumps(config, indent=2), encoding="utf-8")
