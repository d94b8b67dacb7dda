"""Train one policy of the suite, and make its rows."""

import dataclasses
import functools
import shutil
import statistics
from typing import Any

import jax
import numpy as np

from benchmarks.sentiment import folder as folders
from benchmarks.sentiment import openings, reload, sampling
from benchmarks.sentiment.folder import BASES, Completion, Folder
from benchmarks.sentiment.scores import Score
from benchmarks.sentiment.sizes import LORA, RANK, WARMUP, Cell, Sizes
from offalign import Policy, Run, leaderboard, losses
from offalign.judges.win_rates import WinRate, win_rate
from offalign.leaderboard import Row
from offalign.policy.log_ratios import nats
from offalign.training.metrics import NonFinite

TRACK, SWEEP = "sentiment", "sentiment, rates"
COMMAND = "python -m benchmarks.run --suite=sentiment"
_LEAST_MARGIN = 0.2  # of VADER's score, between the completions of a pair


@dataclasses.dataclass(frozen=True)
class Task:
  """What every run of the suite shares.

  Attributes:
    folder: of the results.
    weights: the folder of the base model.
    base: the base model.
    sizes: how long, how many.
    score: the lexicon.
  """

  folder: Folder
  weights: str
  base: Policy
  sizes: Sizes
  score: Score

  @property
  def scenario(self) -> str:
    """The name of what is compared, in rows."""
    what = "VADER" if self.sizes.words else "vowels"
    return f"{what}, {self.sizes.tokens} tokens"


def train(task: Task, cell: Cell, rate: float, seed: int) -> Policy:
  """Trains a policy, or opens the one that was trained before.

  Args:
    task: what is shared.
    cell: the method and what it trains.
    rate: the learning rate.
    seed: of the order of the data, and of LoRA's adapters.

  Raises:
    NonFinite: where the run diverges.
  """
  sizes, method = task.sizes, cell.method
  data: dict[str, Any] = {
    "path": str(task.folder.log),
    "eval_path": str(task.folder.held_out),
    "eval_rows": sizes.eval_rows,
    "max_completion": sizes.tokens,
    "form": "traj",
    "cache": str(task.folder.work / "cache"),
  }
  if method.pairs:
    data |= {"pairs": "best_worst", "min_margin": _least_margin(task)}
  optimizer: dict[str, Any] = {"learning_rate": rate, "warmup_steps": WARMUP}
  if losses.get(method.loss).needs_value:
    optimizer["value_learning_rate"] = sizes.value
  lora = {"rank": RANK, "alpha": 2.0 * RANK} if cell.weights == LORA else None
  run = Run(
    loss=method.loss,
    model=task.weights,
    data=data,
    out=str(folder_of(task, cell, rate, seed)),
    steps=sizes.steps,
    batch_size=sizes.batch // (2 if method.pairs else 1),
    seed=seed,
    lora=lora,
    optimizer=optimizer,
    log_every=5,
    eval_every=sizes.steps,
    save_every=sizes.steps,
    keep=1,
    compile_cache=str(task.folder.work / "compiled"),
  )
  return run.train()


def _least_margin(task: Task) -> float:
  return _LEAST_MARGIN if task.sizes.words else 0.01


def folder_of(task: Task, cell: Cell, rate: float, seed: int) -> Any:
  """The run folder of a run."""
  return task.folder.work / f"{cell.name}-{rate:g}-seed{seed}"


def sweep(task: Task, cell: Cell, rate: float) -> Row:
  """Trains at a rate, and scores completions of the validation openings.

  Args:
    task: what is shared.
    cell: the method and what it trains.
    rate: the learning rate.
  """
  label = f"{cell.label}, {rate:g}"
  try:
    policy = train(task, cell, rate, 0)
  except NonFinite as error:
    return _failed(task, cell, label, error)
  asked = openings.read("validation")[: task.sizes.validation]
  found = sampling.complete(policy, asked, task.sizes, task.score, seed=0)
  metrics = {"mean_score": mean(found), **_of_run(policy, rate)}
  return policy.row(
    track=SWEEP, scenario=task.scenario, label=label, metrics=metrics
  )


def final(task: Task, cell: Cell, rate: float, seed: int) -> Row:
  """Trains at the chosen rate, and completes the test openings.

  The completions go to a file beside the rows. The first seed's policy is
  exported too, and scored by `transformers` where that is installed.

  Args:
    task: what is shared.
    cell: the method and what it trains.
    rate: the learning rate.
    seed: of the run.
  """
  sizes = task.sizes
  try:
    policy = train(task, cell, rate, seed)
  except NonFinite as error:
    return dataclasses.replace(
      _failed(task, cell, cell.label, error), track=TRACK, seed=seed
    )
  found = sampling.of_test(policy, sizes, task.score)
  found = sampling.with_log_ratios(found, policy, task.base, sizes)
  folders.write(task.folder.completions(f"{cell.name}-seed{seed}"), found)
  bases = [folders.read(task.folder.completions(name)) for name in BASES]
  ratios = [x.log_ratio for x in found if x.log_ratio is not None]
  metrics: dict[str, Any] = {
    "mean_score": mean(found),
    "reward_gain": mean(found) - statistics.mean(map(mean, bases)),
    "win_vs_ref": wins([found], bases),
    **({"kl": statistics.mean(ratios)} if ratios else {}),
    **_of_run(policy, rate),
  }
  if seed == 0:
    difference = reload.greatest_difference(
      policy, found, task.folder.work / "exported", sizes
    )
    if difference is not None:
      metrics["transformers_difference"] = difference
  return policy.row(
    track=TRACK, scenario=task.scenario, label=cell.label, metrics=metrics
  )


def drop(task: Task, cell: Cell) -> None:
  """Deletes the run folders of a cell, whose rows are written."""
  for path in task.folder.work.glob(f"{cell.name}-*-seed*"):
    shutil.rmtree(path)


def wins(
  theirs: list[list[Completion]], bases: list[list[Completion]]
) -> WinRate:
  """Win rate of runs against all draws of the base model, opening by opening.

  Args:
    theirs: completions of the same openings, by run.
    bases: the base model's, by draw.
  """
  said, prompts = [], []
  for mine in theirs:
    for base in bases:
      more = np.array([x.reward for x in mine]) - [x.reward for x in base]
      said += ((np.sign(more) + 1) / 2).tolist()
      prompts += [x.prompt for x in mine]
  return win_rate(said, prompts)


def mean(found: list[Completion]) -> float:
  """The mean score."""
  return statistics.mean(x.reward for x in found)


def _of_run(policy: Policy, rate: float) -> dict[str, float]:
  """The rate, and how far logged held-out completions have moved, in nats."""
  held = policy.metrics
  judged = "eval_rewards/chosen" in held
  moved = nats(policy.loss, held, judged=judged)
  named = {f"log_ratio/{who}": value for who, value in moved.items()}
  return {"rate": rate, **named}


def _failed(task: Task, cell: Cell, label: str, error: Exception) -> Row:
  versions, revision = _where()
  return Row(
    track=SWEEP,
    scenario=task.scenario,
    loss=str(losses.get(cell.method.loss)),
    label=label,
    data_view="",
    model=task.base.about["model"],
    seed=0,
    budget={"completions": 0, "tokens": 0, "steps": 0},
    metrics={},
    seconds={"wall": 0.0, "cpu": 0.0},
    peak_memory_mb=0.0,
    versions=versions,
    revision=revision,
    status="failed",
    error=" ".join(str(error).split()),
  )


@functools.cache
def _where() -> tuple[dict[str, str], str]:
  device = jax.devices()[0].device_kind
  return leaderboard.environment(device), leaderboard.revision()
