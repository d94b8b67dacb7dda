"""What a refit of the reward model cannot be, each in a sentence."""

import pathlib

from jax.sharding import Mesh

from offalign import judges
from offalign.config import Config
from offalign.config.grow import Function
from offalign.config.refit import Refit
from offalign.config.refit import parse as parse_refit
from offalign.data.batches import mixture
from offalign.data.reading import paths
from offalign.distributed import sharding
from offalign.errors import UserError, concerning, option
from offalign.policy import trained_rewards
from offalign.policy.folder import read_run
from offalign.training.rounds import scoring

_OF_FORM = ("form", "columns", "eval_path")
"""Options of the first data's files, which new pairs do not follow."""


def check(config: Config) -> None:
  """Refuses a refit that would teach nothing, or that cannot be made.

  Args:
    config: of a run whose `grow.refit` is given.

  Raises:
    UserError: naming the option.
  """
  grow = config.grow
  assert grow is not None
  assert grow.refit is not None
  if grow.each < 2:
    raise UserError(
      f"{option('grow.refit')} is set, and its judge compares samples of a "
      f"prompt: give {option('grow.samples')} of 2 or more"
    )
  what = scoring.going_by(config)
  if what is not None:
    raise UserError(
      f"{option(what)} compares scores of evaluations, and with "
      f"{option('grow.refit')} they are of different reward models: leave it "
      f"out, or keep the best by a judge ({option('grow.judge')}, "
      f"{option('keep_best', 'eval_judge/score')})"
    )
  refit, run = parse_refit(grow.refit), run_of(grow.score)
  with concerning(option("grow.refit")):
    if refit.judge.startswith("ratings("):  # before its file is read
      raise UserError(
        "ratings are of completions that are there already, and say nothing "
        "of new samples: name a function, a reward model or an endpoint"
      )
    by = judges.options(refit.judge)
    if isinstance(by, judges.RewardModel):
      same = pathlib.Path(run).resolve()
      if same in [pathlib.Path(x).resolve() for x in by.folders]:
        raise UserError(
          f"its judge is {option('grow.score')} too, and labels by the model "
          "that is trained on them teach it nothing: name another judge"
        )
  with concerning(option("grow.score", grow.score)):
    _check_model(run, refit)


def run_of(score: str | None) -> str:
  """The run folder of the one reward model that scores.

  Raises:
    UserError: where something else scores.
  """
  found = None if isinstance(score, Function) else judges.options(score or "")
  if not isinstance(found, judges.RewardModel) or not found.run:
    raise UserError(
      f"{option('grow.refit')} trains the reward model that scores further, "
      f"and {option('grow.score', score)} is not the model of one run: give "
      "reward_model(run='runs/rm'), or leave one of them out"
    )
  return found.run


def _check_model(run: str, refit: Refit) -> None:
  """Refuses a reward model that cannot be trained further so."""
  folder = pathlib.Path(run)
  about = read_run(folder)
  if not trained_rewards.is_reward_model(folder, about):
    return  # which is said where it is opened
  known = about["config"]
  if any(name.startswith("lora.") for name in known):
    raise UserError(
      f"{folder} trained adapters (LoRA), and {option('grow.refit')} trains "
      "whole reward models: merge it first (offalign export), or leave out "
      f"{option('grow.refit')}"
    )
  if not refit.replay:
    return
  path = known["data.path"]
  cure = f"give {option('grow.refit')} replay=0, which uses new pairs alone"
  if mixture.parse(path):
    raise UserError(
      f"{folder} was trained on a mixture ({path}), which cannot be a part of "
      f"another: {cure}"
    )
  if not paths.exists(path):
    raise UserError(
      f"{folder} was trained on {path}, which is not there to be replayed: put "
      f"it back, or {cure}"
    )
  for name in _OF_FORM:
    value = known.get(f"data.{name}")
    if value is not None:
      raise UserError(
        f"{folder} was trained with {option(f'data.{name}', value)}, which new "
        f"pairs do not follow: {cure}, or train it on a file with columns "
        "'prompt', 'chosen' and 'rejected'"
      )


def check_mesh(config: Config, mesh: Mesh) -> None:
  """Refuses devices that the reward model's batches cannot be split over.

  Raises:
    UserError: naming the option.
  """
  if config.grow is None or config.grow.refit is None:
    return
  known = read_run(pathlib.Path(run_of(config.grow.score)))["config"]
  with concerning(option("grow.refit")):
    size, micro = known["batch_size"], known["microbatches"]
    sharding.check_batch_size(mesh, size, micro)
