"""Load and save Hugging Face checkpoints.

Weights are read straight into their sharded layout: each device's part of a
leaf is filled from the file a few megabytes at a time, so the host never
holds a checkpoint twice.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import Mesh

from offalign.distributed import hosts, sharding
from offalign.errors import UserError
from offalign.models import functions
from offalign.models.base import Model
from offalign.models.hf import architectures, multimodal
from offalign.models.hf.check_tensors import (
  check_tensors,
  expected_shapes,
  tensors_equal,
)
from offalign.models.hf.config_json import ignoring
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
  ignore: str | None = None,
) -> tuple[Model, Params]:
  """Loads a model and its params from a model folder.

  Args:
    folder: holds a config.json and safetensors.
    mesh: devices for the params, which are split as
      `sharding.state_shardings` says; default: the first device.
    dtype: dtype of the params, "float32" or "bfloat16".
    spec: name of the model; default: "hf:" and the folder.
    ignore: keys of config.json to leave out of account, with commas.

  Returns:
    The model and its params.

  Raises:
    UserError: if anything is missing, unexpected, corrupt or not implemented;
      names the file and the tensor or option.
  """
  if dtype not in ("float32", "bfloat16"):
    raise UserError(f"dtype must be float32 or bfloat16, not {dtype!r}")
  opened = open_folder(Path(folder))
  if opened.images is not None:
    hosts.say(multimodal.said(opened.path, opened.images))
  where = str(opened.path / CONFIG)
  opened = dataclasses.replace(
    opened, config=ignoring(opened.config, ignore, where)
  )
  family = architectures.find_family(opened.config, where)
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
  """Saves a model folder: weights, config.json and the tokenizer's files.

  The folder appears complete or not at all.

  Args:
    folder: a path where there is nothing yet, or an empty folder.
    model: a model from `load` or `describe`.
    params: the model's params.
    source: folder with the model's config.json, which is copied but for the
      dtype, and with the files to copy beside it (`folder.COMPANIONS`).
    dtype: dtype of the tensors, one of `SPELLED`; default: that of the
      params.
    max_shard_size: size in bytes above which weights go to several files.

  Raises:
    UserError: if the folder is not empty, or the params are not the model's.
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
  """Writes weights and config.json into an existing folder.

  Args:
    folder: an existing folder.
    config: the parsed config.json.
    model: see `save`.
    params: see `save`.
    where: name of the config.json, for errors.
    dtype: see `save`.
    max_shard_size: see `save`.

  Raises:
    UserError: if the params are not the model's.
  """
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
  write_config(folder, config, dtype)


def write_config(folder: Path, config: dict[str, Any], dtype: str) -> None:
  """Writes config.json, with the dtype of the tensors beside it."""
  # Version 4 of transformers wrote torch_dtype; 5 writes dtype, reads both.
  key = "dtype" if "dtype" in config else "torch_dtype"
  (folder / CONFIG).write_text(
    json.dumps(config | {key: dtype}, indent=2) + "\n", encoding="utf-8"
  )


def shapes_of(model: Model) -> Params:
  """Returns the shapes of a model's params, without computing them."""
  return jax.eval_shape(model.init, jax.random.key(0))


def sources_of(
  config: dict[str, Any], *, tied: bool, where: str = CONFIG
) -> dict[str, Source]:
  """Maps the path of each leaf to its `Source`; args as in `describe`."""
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
  """Builds the model of a parsed config.json, without weights.

  Args:
    config: the parsed file.
    spec: name of the model.
    tied: whether the head is the embedding; used only for families whose
      config.json does not say so.
    where: the file's name, for errors.
  """
  family = architectures.find_family(config, where)
  ours = _configure(family, config, tied)
  longest = config.get("max_position_embeddings")
  return functions.as_model(
    lambda rngs: family.module(ours, rngs=rngs),
    spec=spec,
    vocab_size=ours.vocab_size,
    width=ours.width,
    max_positions=longest if isinstance(longest, int) else None,
  )


def _config(opened: Folder, family: architectures.Family) -> Any:
  """Reads a folder's config; for some families the weights decide `tied`."""
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
  """Adds the prefix that a checkpoint without the head lacks."""
  if any(name.startswith(prefix) for name in opened.tensors):
    return opened
  return dataclasses.replace(
    opened,
    tensors={prefix + name: tensor for name, tensor in opened.tensors.items()},
  )
