"""A reference that a run does not start from: another run's policy, or a model.

Its log-probs are a column like those of the start, so the run that uses it may
have another model, and adapters, but must have the same tokens. A loss that
runs its reference in each step has the other model there too.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from jax.sharding import Mesh

from offalign.config import Config
from offalign.config.reference import CHOICES, ReferenceChoice, parse
from offalign.data import Tokenizer
from offalign.errors import UserError, concerning, option, suggest, within
from offalign.learner import Learner
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.planning import from_config
from offalign.policy import pretrained, start
from offalign.policy.folder import TOKENIZER
from offalign.policy.trained_rewards import refuse_as_policy
from offalign.types import Params


@dataclasses.dataclass(frozen=True)
class Reference:
  """A policy that a run is held close to.

  Attributes:
    model: its model.
    identity: names its weights.
    network: says what its model computes apart from the weights; see
      `start.network`.
    params: its weights, on the mesh.
    read: reads the weights again.
  """

  model: Model
  identity: str
  network: str
  params: Params
  read: Callable[[], Params]

  def scorer(self, learner: Learner) -> Learner:
    """What scores under the reference for a run: its loss, this model."""
    return learner.of_model(self.model)


def is_read(loss: Loss) -> bool:
  """Whether a loss compares the policy with a reference."""
  return "kl" in loss.needs or any(
    name.startswith("ref_") for name in loss.needs
  )


def check(config: Config, choice: ReferenceChoice, loss: Loss) -> None:
  """Refuses options of a reference that nothing would read.

  Raises:
    UserError: naming the option.
  """
  step = config.reference_step
  if step is not None and choice.kind != "run":
    raise UserError(
      f"{option('reference_step', step)} is set without a run in "
      f"{option('reference')}; leave it out, or name the run to hold to"
    )
  if choice.kind != "start" and not is_read(loss):
    raise UserError(
      f"{option('reference', choice)} is set, but loss {str(loss)!r} has no "
      "reference; leave it out, or choose a loss that has one"
    )


def described(config: Config, loss: Loss) -> Model | None:
  """The model of another reference that each step runs, without weights.

  Args:
    config: of the run; `check` has passed.
    loss: of the run.

  Returns:
    None where no step runs a reference, or where it is the policy's model.

  Raises:
    UserError: where there is no such run or model.
  """
  name = parse(config.reference).run
  if name is None or not loss.runs_reference:
    return None
  with within(init="reference", init_step="reference_step", model="reference"):
    parent = start.find_parent(_named(config, name))
    if parent is not None:
      return start.model_of(parent.folder, parent.about)
    return from_config.model_of(name)


def load(
  config: Config,
  choice: ReferenceChoice,
  tokenizer: Tokenizer,
  mesh: Mesh,
  first: str,
) -> Reference | None:
  """Loads the reference, where it is not what the run starts from.

  Args:
    config: of the run.
    choice: its option `reference`, read.
    tokenizer: of the run.
    mesh: the devices.
    first: names the weights that the run starts from.

  Returns:
    None where the run starts from its reference.

  Raises:
    UserError: where there is no such run or model, or it has other tokens.
  """
  if choice.run is None:
    return None
  name = choice.run
  with within(init="reference", init_step="reference_step", model="reference"):
    named = _named(config, name)
    parent = start.find_parent(named)
  if parent is not None:
    with concerning(option("reference")):
      refuse_as_policy(parent.folder, parent.about, "be a reference")
  with concerning(option("reference")):
    where = parent.folder / TOKENIZER if parent else hub.find_folder(name)
    _check_tokens(tokenizer, Tokenizer.load(where), name)
    network = (
      start.network(parent.folder, parent.about)
      if parent
      else start.network_of_model(name)
    )

    def read() -> tuple[Model, Params, str]:
      return start.policy(named, parent, tokenizer.vocab_size, mesh)

    model, params, identity = read()
  if identity == first:
    return None

  def again() -> Params:
    _, params, found = read()
    if found != identity:
      raise UserError(f"there is {found} now, not {identity}")
    return params

  return Reference(model, identity, network, params, again)


def _named(config: Config, name: str) -> Config:
  """The options with which a run would start from the reference."""
  step = config.reference_step
  if pretrained.is_one(name):
    if step is not None:
      raise UserError(
        f"{option('init_step', step)} is of a run's checkpoints, and {name} "
        "is a model folder; leave it out"
      )
    return Config(model=name, lora=config.lora)
  if pathlib.Path(name).is_dir():
    return Config(init=name, init_step=step, lora=config.lora)
  near = suggest(name, ("start", "round", "ema"))
  raise UserError(
    f"{option('reference', name)} is no folder of a run or of a model"
    f"{near} (give {CHOICES})"
  )


def _check_tokens(mine: Tokenizer, other: Tokenizer, name: str) -> None:
  """Refuses a reference to which an id is another token than to the run."""
  for i in range(mine.vocab_size):
    there = other.name_of(i) if i < other.vocab_size else None
    if mine.name_of(i) != there:
      raise UserError(
        f"token {i} is {mine.name_of(i)!r} in this run and "
        f"{'no token' if there is None else repr(there)} in {name}, so the "
        "same tokens are other texts there: name a reference with this run's "
        "tokenizer"
      )
