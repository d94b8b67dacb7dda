"""Write LoRA adapters as a folder that `peft` reads.

Each layer becomes a tensor of its own, and maps are stored as [out, in], as
everywhere in a checkpoint: lora_A is [r, in] and lora_B is [out, r].
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from offalign.errors import UserError, option
from offalign.models.base import Model
from offalign.models.hf import checkpoint as hf
from offalign.models.hf import classifier
from offalign.models.hf.read_leaves import flatten
from offalign.models.hf.tensor_files import Writer
from offalign.models.hf.weight_layout import Source
from offalign.models.lora import LoraConfig
from offalign.types import Params

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
_WEIGHT = ".weight"


def write_adapter(
  folder: Path,
  config: dict[str, Any],
  model: Model,
  lora: LoraConfig,
  adapters: Params,
  *,
  base: str,
  kernel: np.ndarray | None = None,
  dtype: str = "float32",
) -> None:
  """Writes adapter_config.json and adapter_model.safetensors.

  Args:
    folder: an existing folder.
    config: the parsed config.json of the model.
    model: the model.
    lora: the config of the adapters.
    adapters: trained adapters, in the layout of `lora.init`.
    base: name of the model that the adapters belong to, for peft.
    kernel: the head of a reward model, [d], which becomes the saved module
      of a classifier of one label; None for a policy.
    dtype: dtype of the tensors.

  Raises:
    UserError: if an adapted map shares its tensor in the checkpoint with
      other maps, since `peft` has one adapter for a tensor; for a reward
      model, see `classifier.class_of`.
  """
  tied = "head" not in hf.shapes_of(model)
  sources = hf.sources_of(config, tied=tied)
  tensors: dict[str, np.ndarray] = {}
  adapted: set[str] = set()
  for path, leaf in flatten(adapters).items():
    module, _, name = path.rpartition("/")
    source = sources[f"{module}/kernel"]
    if source.rows is not None:
      what = "policy" if kernel is None else "reward model"
      raise UserError(
        f"{source.names[0]} of this model holds several maps, {module!r} is "
        "one of them, and an adapter of peft's is for all: export the merged "
        f"{what} instead, or train with "
        f"{option('lora.targets', ','.join(_alone(sources)))}"
      )
    for weight, layer in zip(source.names, np.asarray(leaf), strict=True):
      where = weight.removesuffix(_WEIGHT)
      adapted.add(where)
      key = f"base_model.model.{where}.lora_{name.upper()}{_WEIGHT}"
      tensors[key] = layer.T
  task = "SEQ_2_SEQ_LM" if config.get("is_encoder_decoder") else "CAUSAL_LM"
  if kernel is not None:
    classifier.class_of(config)
    task = "SEQ_CLS"
    key = f"base_model.model.{classifier.SCORE}{_WEIGHT}"
    tensors[key] = np.asarray(kernel)[None]
  about = {
    "peft_type": "LORA",
    "task_type": task,
    "base_model_name_or_path": base,
    "r": lora.rank,
    "lora_alpha": lora.alpha,
    "lora_dropout": 0.0,
    "target_modules": _suffixes(adapted, sources),
    "bias": "none",
    # Whether maps are stored [in, out], as GPT-2's are.
    "fan_in_fan_out": not source.transpose,
    "inference_mode": True,
  }
  if kernel is not None:
    about["modules_to_save"] = [classifier.SCORE]
  text = json.dumps(about, indent=2) + "\n"
  (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  writer = Writer(folder / ADAPTER, shapes, hf.SPELLED[dtype])
  try:
    for name, tensor in tensors.items():
      writer.write(name, tensor, None, 0)
  finally:
    writer.close()


def _alone(sources: dict[str, Source]) -> list[str]:
  """Names of the maps of layers that have a tensor of their own."""
  shared = {path for path, source in sources.items() if source.rows is not None}
  return list(
    dict.fromkeys(
      path.split("/")[-2]
      for path, source in sources.items()
      if path.endswith("/kernel") and source.stacked and path not in shared
    )
  )


def _suffixes(adapted: set[str], sources: dict[str, Source]) -> list[str]:
  """Finds the shortest ends of names that no other map shares."""
  others = {
    name.removesuffix(_WEIGHT)
    for path, source in sources.items()
    if path.endswith("/kernel") or source.experts is not None
    for name in source.names
  } - adapted

  def end(name: str) -> str:
    parts = name.split(".")
    return next(
      found
      for found in (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
      if not any(f".{other}".endswith(f".{found}") for other in others)
    )

  return sorted({end(name) for name in adapted})
