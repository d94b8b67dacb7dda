"""Where a run starts: a fresh model, or the policy of another run."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from offalign import models, origin, sharding
from offalign.checkpoint import Checkpoints
from offalign.config import Config
from offalign.data import Tokenizer, make_tokenizer
from offalign.errors import UserError
from offalign.models import hub
from offalign.models.base import Model
from offalign.types import Params

ABOUT = "run.json"
MODEL = "decoder"  # where no flag names one


@dataclasses.dataclass(frozen=True)
class Parent:
  """Another run's folder, to start from.

  Attributes:
    folder: the run folder.
    about: its run.json.
    step: of its newest checkpoint.
  """

  folder: pathlib.Path
  about: dict[str, Any]
  step: int


def find_parent(config: Config) -> Parent | None:
  """Looks at --cfg.init.

  Raises:
    UserError: where it is no run folder, or the flags contradict it.
  """
  if config.init is None:
    return None
  folder = pathlib.Path(config.init)
  about = read_about(folder)
  if about is None:
    raise UserError(
      f"--cfg.init={config.init} is not a run folder: it has no {ABOUT}"
    )
  given = {"model": config.model, "tokenizer": config.tokenizer}
  for name, value in given.items():
    if value is None:
      continue
    if name == "model" and canonical(value) == about["model"]:
      continue
    raise UserError(
      f"--cfg.{name}={value} is set beside --cfg.init={config.init}, whose "
      f"model is {about['model']} with its own tokenizer; leave it out"
    )
  with Checkpoints(folder) as checkpoints:
    if checkpoints.latest is None:
      raise UserError(f"--cfg.init={config.init} has no complete checkpoint")
    return Parent(folder, about, checkpoints.latest)


def canonical(spec: str) -> str:
  """A model's spec as `Model.spec` prints it."""
  if origin.is_named(spec):
    return origin.spec(spec)
  return models.make(spec, vocab_size=1).spec


def read_about(folder: pathlib.Path) -> dict[str, Any] | None:
  """The run.json of a folder, or None."""
  path = folder / ABOUT
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except json.JSONDecodeError as error:
    raise UserError(f"{path} is not JSON ({error}); is it a run's?") from None


def tokenizer(
  config: Config, parent: Parent | None, texts: list[str]
) -> Tokenizer:
  """The parent's tokenizer, this run's from before, or a new one."""
  folder = pathlib.Path(config.out) / "tokenizer"
  if parent is not None:
    if config.tokenizer_vocab is not None:
      raise UserError(
        "--cfg.tokenizer_vocab is set beside --cfg.init, which brings its "
        "tokenizer; leave it out"
      )
    found = Tokenizer.load(parent.folder / "tokenizer")
  elif folder.exists():
    return Tokenizer.load(folder)
  else:
    own = "bpe"
    if config.model is not None and origin.is_named(config.model):
      own = str(hub.find(config.model))
    found = make_tokenizer(
      config.tokenizer or own, texts, config.tokenizer_vocab
    )
  found.save(folder)
  return found


def policy(
  config: Config, parent: Parent | None, vocab_size: int, mesh: Mesh
) -> tuple[Model, Params, str]:
  """The model, its first weights on the mesh, and what names them.

  Args:
    config: the flags.
    parent: the run to start from.
    vocab_size: tokens of the tokenizer. A model from a folder may have more,
      which then are never in the data.
    mesh: the devices.

  Raises:
    UserError: where the model cannot be made, or has too few tokens.
  """
  if parent is not None:
    model = model_of(parent.folder, parent.about)
    _check_vocabulary(model, vocab_size)
    params = restore(parent.folder, model, mesh)
    return model, params, f"{parent.folder} at step {parent.step}"
  if config.model is not None and origin.is_named(config.model):
    model, params, identity = origin.load(config.model, mesh)
    _check_vocabulary(model, vocab_size)
    return model, params, identity
  model = models.make(config.model or MODEL, vocab_size=vocab_size)
  key = jax.random.key(config.seed)
  shapes = jax.eval_shape(model.init, key)
  shardings = sharding.state_shardings(mesh, shapes)
  params = jax.jit(model.init, out_shardings=shardings)(key)
  return model, params, f"{model.spec}, V={vocab_size}, seed {config.seed}"


def keep(config: Config, parent: Parent | None, params: Params) -> None:
  """Keeps in the run folder what the Hugging Face model was, if it was one.

  Args:
    config: the flags.
    parent: the run that this one started from.
    params: the policy's.
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
    )


def model_of(folder: pathlib.Path, about: dict[str, Any]) -> Model:
  """The model of a run, without weights."""
  if origin.is_kept(about["model"]):
    return origin.describe(folder)
  return models.make(about["model"], vocab_size=about["vocab_size"])


def restore(folder: pathlib.Path, model: Model, mesh: Mesh) -> Params:
  """The policy of a run's newest checkpoint."""
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  template = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    sharding.state_shardings(mesh, shapes),
  )
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore_policy(template)


def _check_vocabulary(model: Model, vocab_size: int) -> None:
  if model.vocab_size < vocab_size:
    raise UserError(
      f"{model.spec} has a vocabulary of {model.vocab_size} tokens, the "
      f"tokenizer {vocab_size}: give the tokenizer that the model was made for"
    )
