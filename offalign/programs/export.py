"""python -m offalign.export --run=RUN --out=DIR: a run as a model folder.

The folder holds the policy of the run's newest checkpoint (--step=N or
--step=best for another) as safetensors, with config.json and the tokenizer's
files, as `transformers` reads it. What LoRA trained is merged into the
weights, or with --adapter written alone, as `peft` reads it.
"""

import json
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from offalign import models, user_code
from offalign.config.config import blaming
from offalign.data import Tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf import adapter as hf_adapter
from offalign.models.hf import t5_family
from offalign.models.hf.folder import (
  TOKENIZER,
  copy_companions,
  read_config,
  whole_or_nothing,
)
from offalign.models.t5.config import T5Config
from offalign.policy import adapters, origin, recorded_code, start
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import ABOUT, read_about
from offalign.programs import flags as flags_lib

DTYPES = ("float32", "bfloat16")


def export(
  run: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  step: str = "newest",
  adapter: bool = False,
  dtype: str = "float32",
  max_shard_size: int = hf.MAX_SHARD_SIZE,
) -> int:
  """Writes the policy of a run's checkpoint as a model folder.

  Args:
    run: the run folder; nothing else is needed.
    out: a new folder; it is there whole or not at all.
    step: of the checkpoint: "newest", "best" or a number.
    adapter: write what LoRA trained alone, and not merged.
    dtype: of the file's weights; the run's are float32.
    max_shard_size: bytes above which there is more than one file of weights;
      an adapter is always one.

  Returns:
    The checkpoint's step.

  Raises:
    UserError: where there is no checkpoint, the model is none of Hugging
      Face's, or `out` is not empty; where weights are to be merged that are
      not there any more, or an adapter to be written that was not trained.
  """
  folder = pathlib.Path(run)
  about = read_about(folder)
  if about is None:
    raise UserError(f"{folder} is not a run folder: it has no {ABOUT}")
  config = _config(folder, about)
  with Checkpoints(folder) as checkpoints:
    if checkpoints.latest is None:
      raise UserError(f"{folder} has no complete checkpoint yet")
  with blaming(f"--step={step}"):
    number = choose(folder, step, about["config"].get("keep_best"))
  with whole_or_nothing(pathlib.Path(out)) as part:
    model = start.model_of(folder, about)
    if adapter:
      _write_adapter(part, folder, about, config, model, dtype, number)
    else:
      mesh = sharding.one_device()
      params = start.restore(folder, model, mesh, number)
      hf.write(
        part, config, model, params, dtype=dtype, max_shard_size=max_shard_size
      )
    copy_companions(folder / origin.FOLDER, part)
    if not (part / "tokenizer.json").exists():
      _copy_tokenizer(folder / "tokenizer", part)
  return number


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
      "--adapter"
    )
  known = about["config"]
  if known["init"] is not None:
    raise UserError(
      f"{folder} trained adapters for the run {known['init']}, which nothing "
      "but offalign can load: export it without --adapter, or export that "
      "run first and train with --cfg.model=ITS_FOLDER"
    )
  if not origin.is_kept(about["model"]):
    raise UserError(
      f"{folder} trained adapters for {about['start']}, which is in no folder "
      "that they could be loaded with: export it without --adapter"
    )
  hf_adapter.write(
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


def _copy_tokenizer(source: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies the run's own tokenizer, with the class that reads any."""
  for name in TOKENIZER:
    if (source / name).is_file():
      shutil.copyfile(source / name, folder / name)
  file = folder / "tokenizer_config.json"
  config = json.loads(file.read_text(encoding="utf-8"))
  config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
  file.write_text(json.dumps(config, indent=2), encoding="utf-8")


def main(argv: Sequence[str]) -> int:
  """Exports; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, ("run", "out"), "--run=RUN and --out=DIR")
    user_code.load_all(values.imports)
    step = export(
      values.run,
      values.out,
      step=values.step,
      adapter=values.adapter,
      dtype=values.dtype,
    )
  except UserError as error:
    print(f"offalign.export: {error}", file=sys.stderr)
    return 2
  what = "adapter" if values.adapter else "policy"
  print(f"wrote the {what} of {values.run} at step {step} to {values.out}")
  return 0


def run() -> None:
  """The entry point of `offalign-export`."""
  module = sys.argv[0]
  flags.DEFINE_string("run", None, "the run folder", module_name=module)
  flags.DEFINE_string("out", None, "a new folder", module_name=module)
  flags.DEFINE_string(
    "step",
    "newest",
    "of the checkpoint: newest, best (see --cfg.keep_best) or a number",
    module_name=module,
  )
  flags.DEFINE_bool(
    "adapter",
    False,
    "write what LoRA trained alone, as peft reads it",
    module_name=module,
  )
  flags.DEFINE_enum(
    "dtype", "float32", DTYPES, "of the file's weights", module_name=module
  )
  flags_lib.define_imports()
  app.run(main)
