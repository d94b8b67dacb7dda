"""Hugging Face checkpoints in and out.

Reading goes straight into the sharded layout: each device's part of a leaf is
filled from a few mapped megabytes of the file at a time, so that the host
never holds the checkpoint twice.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import Mesh

from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.models import functions
from offalign.models.base import Model
from offalign.models.hf import architectures
from offalign.models.hf.check_tensors import (
  check_tensors,
  expected_shapes,
  tensors_equal,
)
from offalign.models.hf.folder import (
  CONFIG,
  Folder,
  copy_companions,
  open_folder,
  read_config,
  whole_or_nothing,
)
from offalign.models.hf.read_leaves import flatten, read_leaf
from offalign.models.hf.weight_layout import Source
from offalign.models.hf.write_tensors import MAX_SHARD_SIZE, write_tensors
from offalign.types import Params

SPELLED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def load(
  folder: str | Path,
  *,
  mesh: Mesh | None = None,
  dtype: str = "float32",
  spec: str | None = None,
) -> tuple[Model, Params]:
  """Reads a model folder.

  Args:
    folder: with a config.json and safetensors.
    mesh: where the params go, split as `sharding.state_shardings` says;
      default: the first device.
    dtype: of the params, "float32" or "bfloat16".
    spec: names the model; default: "hf:" and the folder.

  Returns:
    The model and its params.

  Raises:
    UserError: naming file and tensor or option, for anything missing,
      unexpected, corrupt or not implemented.
  """
  if dtype not in ("float32", "bfloat16"):
    raise UserError(f"dtype must be float32 or bfloat16, not {dtype!r}")
  opened = open_folder(Path(folder))
  family = architectures.find_family(opened.config, str(opened.path / CONFIG))
  opened = _with_prefix(opened, family.prefix)
  config = _config(opened, family)
  model = describe(opened.config, spec=spec or f"hf:{folder}", tied=config.tied)
  shapes = shapes_of(model)
  sources = family.weight_map(config)
  check_tensors(
    opened,
    expected_shapes(sources, shapes),
    dict(family.duplicates(config)),
    family.ignored,
  )
  mesh = mesh or sharding.one_device()
  placed = flatten(sharding.state_shardings(mesh, shapes, model.splits))
  leaves = {
    path: read_leaf(
      opened.tensors, sources[path], shape.shape, placed[path], dtype
    )
    for path, shape in flatten(shapes).items()
  }
  return model, traverse_util.unflatten_dict(leaves, sep="/")


def save(
  folder: str | Path,
  model: Model,
  params: Params,
  *,
  source: str | Path,
  dtype: str | None = None,
  max_shard_size: int = MAX_SHARD_SIZE,
) -> None:
  """Writes a model folder: weights, config.json and the tokenizer's files.

  It is there whole or not at all.

  Args:
    folder: a new one.
    model: which `load` or `describe` made.
    params: its params.
    source: a folder with its config.json, of which all but the dtype is
      kept, and the files to go beside it (`folder.COMPANIONS`).
    dtype: of the file: "float32" or "bfloat16"; default: that of the params.
    max_shard_size: bytes above which there is more than one file of weights.

  Raises:
    UserError: where the folder is not empty, or the params do not fit.
  """
  source = Path(source)
  config = read_config(source)
  with whole_or_nothing(Path(folder)) as part:
    write(
      part,
      config,
      model,
      params,
      where=str(source / CONFIG),
      dtype=dtype,
      max_shard_size=max_shard_size,
    )
    copy_companions(source, part)


def write(
  folder: Path,
  config: dict[str, Any],
  model: Model,
  params: Params,
  *,
  where: str = CONFIG,
  dtype: str | None = None,
  max_shard_size: int = MAX_SHARD_SIZE,
) -> None:
  """Writes weights and config.json into a folder; see `save`."""
  sources = sources_of(config, tied="head" not in params, where=where)
  shapes = shapes_of(model)
  _check_params(params, shapes, sources, where)
  dtype = dtype or jax.tree.leaves(params)[0].dtype.name
  if dtype not in SPELLED:
    raise UserError(f"dtype must be one of {', '.join(SPELLED)}, not {dtype!r}")
  write_tensors(
    folder,
    params,
    sources,
    expected_shapes(sources, shapes),
    SPELLED[dtype],
    max_shard_size,
  )
  # Version 4 of transformers wrote torch_dtype; 5 writes dtype, reads both.
  key = "dtype" if "dtype" in config else "torch_dtype"
  (folder / CONFIG).write_text(
    json.dumps(config | {key: dtype}, indent=2) + "\n", encoding="utf-8"
  )


def shapes_of(model: Model) -> Params:
  """The shapes of a model's params."""
  return jax.eval_shape(model.init, jax.random.key(0))


def sources_of(
  config: dict[str, Any], *, tied: bool, where: str = CONFIG
) -> dict[str, Source]:
  """Where each leaf lies in a checkpoint; see `describe`."""
  family = architectures.find_family(config, where)
  return family.weight_map(_configure(family, config, tied))


def _configure(
  family: architectures.Family, config: dict[str, Any], tied: bool
) -> Any:
  ours = family.from_hf(config)
  if family.tied_by_file:
    ours = dataclasses.replace(ours, tied=tied)
  return ours


def _check_params(
  params: Params, shapes: Params, sources: dict[str, Source], where: str
) -> None:
  """Raises UserError unless the params are those of a config.json."""
  given = {path: leaf.shape for path, leaf in flatten(params).items()}
  wanted = {path: leaf.shape for path, leaf in flatten(shapes).items()}
  if given != wanted or given.keys() != sources.keys():
    paths = sorted(given.keys() ^ sources.keys()) or sorted(
      path for path in given if given[path] != wanted.get(path)
    )
    raise UserError(
      f"these params are not of the model in {where}: they differ "
      f"in {paths[0]!r}"
    )


def describe(
  config: dict[str, Any], *, spec: str, tied: bool, where: str = CONFIG
) -> Model:
  """The model of a parsed config.json, without weights.

  Args:
    config: the file's content.
    spec: names the model.
    tied: whether its head is the embedding; decides only where config.json
      does not.
    where: the file, for errors.
  """
  family = architectures.find_family(config, where)
  ours = _configure(family, config, tied)
  return functions.as_model(
    lambda rngs: family.module(ours, rngs=rngs),
    spec=spec,
    vocab_size=ours.vocab_size,
    width=ours.width,
  )


def _config(opened: Folder, family: architectures.Family) -> Any:
  """Our config of a folder; sees to `tied` where the weights decide it."""
  config = family.from_hf(opened.config)
  if not family.tied_by_file:
    return config
  sources = family.weight_map(config)
  (head,) = sources["head/kernel"].names
  (table,) = sources["embedding/table"].names
  if head not in opened.tensors:
    return dataclasses.replace(config, tied=True)
  # A model with a scaled head was trained with a tied one; where its tensor
  # is there twice, it is still one weight.
  twice = (
    config.scaled
    and table in opened.tensors
    and tensors_equal(opened.tensors[head], opened.tensors[table])
  )
  return dataclasses.replace(config, tied=twice)


def _with_prefix(opened: Folder, prefix: str) -> Folder:
  """Names as in checkpoints of the whole model."""
  if any(name.startswith(prefix) for name in opened.tensors):
    return opened
  return dataclasses.replace(
    opened,
    tensors={prefix + name: tensor for name, tensor in opened.tensors.items()},
  )
