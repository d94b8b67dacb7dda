"""The start of a run: a fresh model, or the policy of another run."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from offalign import models
from offalign.config import Config
from offalign.data import Tokenizer, make_tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError, concerning, option, within
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.models.hf.folder import read_config
from offalign.policy import adapters, origin, recorded_code, trained_rewards
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import ABOUT, TOKENIZER, read_about
from offalign.types import Array, Params

MODEL = "decoder"  # the default of the option `model`
_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)  # of xxHash; they mix bits


@dataclasses.dataclass(frozen=True)
class Parent:
  """The run that another run starts from.

  Attributes:
    folder: the parent's run folder.
    about: the parent's run.json.
    step: the step of the checkpoint to start from.
  """

  folder: pathlib.Path
  about: dict[str, Any]
  step: int


def find_parent(config: Config) -> Parent | None:
  """Finds the parent run that init names; None if not given.

  Raises:
    UserError: where init is no run folder, or other flags contradict
      it.
  """
  if config.init is None:
    if config.init_step is not None:
      raise UserError(
        f"{option('init_step', config.init_step)} is set without "
        f"{option('init')}; leave it out, or name the run to start from"
      )
    if config.model is not None:
      canonical(config.model)
    named = config.model is not None and origin.is_named(config.model)
    if config.model_ignore is not None and not named:
      raise UserError(
        f"{option('model_ignore', config.model_ignore)} is for a model that "
        "has a config.json, and this run's is new; leave it out"
      )
    return None
  folder = pathlib.Path(config.init)
  about = read_about(folder)
  if about is None:
    raise UserError(
      f"{option('init', config.init)} is not a run folder: it has no {ABOUT}; "
      f"name the {option('out')} of an earlier run"
    )
  given = {
    "model": config.model,
    "model_ignore": config.model_ignore,
    "tokenizer": config.tokenizer,
    "tokenizer_vocab": config.tokenizer_vocab,
  }
  for name, value in given.items():
    if value is None:
      continue
    if name == "model" and canonical(config.model or "") == about["model"]:
      continue
    raise UserError(
      f"{option(name, value)} is set beside {option('init', config.init)}, "
      f"whose model is {about['model']} with its own tokenizer; leave it out"
    )
  with Checkpoints(folder) as checkpoints:
    if checkpoints.latest is None:
      raise UserError(
        f"{option('init', config.init)} has no complete checkpoint; train it "
        "further, or name another run"
      )
  keep_best = about["config"].get("keep_best")
  with concerning(option("init_step", config.init_step)):
    step = choose(folder, config.init_step or "newest", keep_best)
  return Parent(folder, about, step)


def is_untrained(config: Config, parent: Parent | None) -> bool:
  """Whether a run starts from new weights, not from a trained policy."""
  named = config.model is not None and origin.is_named(config.model)
  return parent is None and not named


def canonical(spec: str) -> str:
  """Spells a model's spec as `Model.spec` does."""
  with concerning(option("model")):
    if origin.is_named(spec):
      return origin.spec(spec)
    return models.make(spec, vocab_size=1).spec


def tokenizer(
  config: Config, parent: Parent | None, known: bool, texts: Iterable[str]
) -> Tokenizer:
  """Loads the tokenizer of the parent or of this run, or makes a new one.

  Args:
    config: the flags.
    parent: the run to start from.
    known: whether this run was begun before, and so has a tokenizer.
    texts: texts to train a new tokenizer on.
  """
  if known and parent is None:
    return Tokenizer.load(pathlib.Path(config.out) / TOKENIZER)
  found = _tokenizer(config, parent, texts)
  if config.data.template_vars is None:
    return found
  with within("data"):
    return found.with_template_vars(config.data.template_vars)


def _tokenizer(
  config: Config, parent: Parent | None, texts: Iterable[str]
) -> Tokenizer:
  if parent is not None:
    return Tokenizer.load(parent.folder / TOKENIZER)
  own = "bpe"
  if config.model is not None and origin.is_named(config.model):
    own = str(hub.find_folder(config.model))
  given = "tokenizer" if config.tokenizer or own == "bpe" else "model"
  with (
    concerning(option(given)),
    within(vocab_size="tokenizer_vocab"),
  ):
    return make_tokenizer(
      config.tokenizer or own, texts, config.tokenizer_vocab
    )


def policy(
  config: Config, parent: Parent | None, vocab_size: int, mesh: Mesh
) -> tuple[Model, Params, str]:
  """Makes or loads the policy that a run starts from.

  Args:
    config: the flags.
    parent: the run to start from.
    vocab_size: tokens of the tokenizer, for a new model. A model from a
      folder may have more tokens, which then never occur in the data, or
      fewer; see `offalign.data.batches.vocabulary`.
    mesh: the devices.

  Returns:
    The model, its weights on the mesh, and an identity of the weights. The
    weights are in float32; under LoRA, which freezes them, they are in the
    compute dtype.

  Raises:
    UserError: where the model cannot be made.
  """
  dtype = "float32" if config.lora is None else config.compute_dtype
  if parent is not None:
    model = model_of(parent.folder, parent.about)
    where = (parent.folder, model, mesh, parent.step)
    if trained_rewards.is_reward_model(parent.folder, parent.about):
      params, _ = reward_model(*where)
    else:
      params = restore(*where)
    name = f"{parent.folder} at step {parent.step}, weights {digest(params)}"
    return model, _cast(params, dtype), name
  if config.model is not None and origin.is_named(config.model):
    model, params, identity = origin.load(
      config.model, mesh, dtype, config.model_ignore
    )
    return model, params, identity
  model = models.make(config.model or MODEL, vocab_size=vocab_size)
  key = jax.random.key(config.seed)
  shapes = jax.eval_shape(model.init, key)
  shardings = sharding.state_shardings(mesh, shapes, model.splits)
  params = jax.jit(model.init, out_shardings=shardings)(key)
  name = f"{model.spec}, V={vocab_size}, seed {config.seed}"
  return model, _cast(params, dtype), name


def keep(config: Config, parent: Parent | None, params: Params) -> None:
  """Keeps in the run folder which Hugging Face model the run started from.

  Args:
    config: the flags.
    parent: the run that this one started from.
    params: the policy's params.
  """
  out = pathlib.Path(config.out)
  if parent is not None:
    if origin.is_kept(parent.about["model"]):
      origin.hand_on(parent.folder, out)
  elif config.model is not None and origin.is_named(config.model):
    origin.keep(
      config.model,
      out,
      tied="head" not in params,
      tokenizer=config.tokenizer is None,
      ignore=config.model_ignore,
    )


def model_of(folder: pathlib.Path, about: dict[str, Any]) -> Model:
  """Builds the model of a run, without weights.

  Raises:
    UserError: for a model whose code was not imported; see
      `recorded_code`.
  """
  recorded_code.check_model(folder, about)
  if origin.is_kept(about["model"]):
    return origin.describe(folder)
  return models.make(about["model"], vocab_size=about["vocab_size"])


def network(folder: pathlib.Path, about: dict[str, Any]) -> str:
  """Says what a run's model computes, apart from the weights, as JSON.

  Args:
    folder: the run folder, which keeps a Hugging Face model's config.json.
    about: the run.json.
  """
  if not origin.is_kept(about["model"]):
    return json.dumps([about["model"], about["vocab_size"]])
  return _network(read_config(folder / origin.FOLDER))


def network_of_model(name: str) -> str:
  """`network` of a Hugging Face model folder, or a name on the hub."""
  return _network(read_config(hub.find_folder(name)))


def _network(config: dict[str, Any]) -> str:
  # Said of the file: who made it, and as what its weights are stored.
  said = {"_name_or_path", "dtype", "torch_dtype", "transformers_version"}
  kept = {k: v for k, v in config.items() if k not in said}
  return json.dumps(kept, sort_keys=True)


def restore(
  folder: pathlib.Path, model: Model, mesh: Mesh, step: int | None = None
) -> Params:
  """Restores the policy of a run's checkpoint, adapters merged; float32.

  Args:
    folder: the run folder.
    model: from `model_of`.
    mesh: the mesh to place the params on.
    step: the step of the checkpoint; default: the newest.
  """
  about = read_about(folder) or {}
  config = adapters.config_of(about)
  if config is not None:
    trained = adapters.restore(folder, model, config, mesh, step)
    return adapters.merge(config, frozen(folder, about, mesh), trained)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  template = sharding.placed(
    shapes, sharding.state_shardings(mesh, shapes, model.splits)
  )
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore_policy(template, step)


def reward_model(
  folder: pathlib.Path, model: Model, mesh: Mesh, step: int | None = None
) -> tuple[Params, Params]:
  """Restores the trunk and the head of a run's reward model, as `restore`."""
  about = read_about(folder) or {}
  adapted = adapters.config_of(about) is not None
  base = frozen(folder, about, mesh) if adapted else None
  return trained_rewards.restore(folder, about, model, mesh, step, base)


def frozen(folder: pathlib.Path, about: dict[str, Any], mesh: Mesh) -> Params:
  """Loads the frozen weights under a run's adapters from their own source.

  The run folder does not hold them.
  """
  known = about["config"]
  recorded_code.check_model(folder, about)
  config = Config(
    model=known["model"],
    model_ignore=known.get("model_ignore"),
    init=known["init"],
    init_step=known.get("init_step"),
    seed=known["seed"],
  )
  with concerning(f"{folder} has adapters alone, for {about['start']}"):
    parent = find_parent(config)
    _, params, found = policy(config, parent, about["vocab_size"], mesh)
    if found != about["start"]:
      raise UserError(f"there is {found} now; put back what was there")
  return params


def _cast(params: Params, dtype: str) -> Params:
  if dtype == "float32":
    return params
  return jax.tree.map(lambda x: x.astype(dtype), params)


def digest(params: Params, digits: int = 8) -> str:
  """Hex digits that change with any bit of float32 weights.

  A sum of whole numbers modulo 2^32 for each leaf, so it is the same on every
  mesh.
  """

  first, second, third = np.array(_PRIMES, np.uint32)

  def of(leaf: Array) -> Array:
    bits = jax.lax.bitcast_convert_type(leaf.astype("float32"), "uint32")
    places = jnp.arange(bits.size, dtype="uint32").reshape(bits.shape)
    mixed = (bits ^ (places * first)) * second
    return jnp.sum((mixed ^ (mixed >> 15)) * third, dtype="uint32")

  sums = jax.device_get(jax.jit(lambda p: jax.tree.map(of, p))(params))
  content = np.array(jax.tree.leaves(sums), np.uint32).tobytes()
  return hashlib.sha256(content).hexdigest()[:digits]
