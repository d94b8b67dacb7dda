"""--suite=overoptimisation: gold against proxy reward as KL is spent.

The gold reward of the world is known, so what a policy gains in it is exact,
while it maximises a reward model that was trained on a log. Best-of-n trains no
policy: one pool of samples, scored by every proxy, gives all n. The other
methods train on the proxy's scores at several strengths.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from benchmarks import ops, ops_log, ops_policy
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base
from benchmarks.overoptimisation import best_of, proxies, trained
from benchmarks.overoptimisation.best_of import Pool
from benchmarks.overoptimisation.points import FOLDS, Point, Points
from benchmarks.overoptimisation.proxies import Data, Proxy, Trainer
from offalign.errors import UserError, suggest
from offalign.generation.best_of import kl_bound

BEST_OF = "best of n"
GOLD = "the gold reward itself"
METHODS = (BEST_OF, *trained.NAMES)
FIRST_SEED = 1


def choose(wanted: str) -> list[str]:
  """Methods by name, separated by semicolons; "" and "all" are all of them.

  Raises:
    UserError: for another.
  """
  if wanted in ("", "all"):
    return list(METHODS)
  chosen = [piece.strip() for piece in wanted.split(";")]
  for piece in chosen:
    if piece not in METHODS:
      raise UserError(
        f"--methods names {piece!r}, which the suite overoptimisation does not "
        f"have{suggest(piece, METHODS)} (methods: {'; '.join(METHODS)})"
      )
  return chosen


@dataclasses.dataclass(frozen=True)
class Cell:
  """Proxies of one size, data and seed, with the curves that are missing.

  Attributes:
    size: of the reward models.
    data: that they learn from.
    seed: of the log.
    missing: (method, name of the proxy).
  """

  size: str
  data: Data
  seed: int
  missing: tuple[tuple[str, str], ...]


def plan(methods: Sequence[str], seeds: int, points: Points) -> list[Cell]:
  """What a folder does not hold yet, seed by seed, best-of-n first.

  Args:
    methods: of `METHODS`.
    seeds: 1 .. seeds.
    points: of the folder.
  """
  made = []
  for part in ([BEST_OF], [m for m in methods if m != BEST_OF]):
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
      for size, data in proxies.cells():
        missing = tuple(
          (method, name)
          for method in part
          if method in methods
          for name in proxies.names(size, data)
          if (method == BEST_OF or trained.runs(size, data, name))
          and not points.holds(method, name, seed, strengths(method))
        )
        if missing:
          made.append(Cell(size, data, seed, missing))
  return made


def strengths(method: str) -> Sequence[float]:
  """Strengths of a method's points: n, beta, tau or updates."""
  return best_of.NS if method == BEST_OF else trained.strengths(method)


def run(folder: pathlib.Path, methods: Sequence[str], seeds: int) -> None:
  """Makes the curves that a folder does not hold yet.

  Args:
    folder: of the suite, where rows are appended as they come.
    methods: of `METHODS`.
    seeds: how many.
  """
  points = Points(folder)
  cells = plan(methods, seeds, points)
  needs_gold = BEST_OF in methods and not points.holds(
    BEST_OF, GOLD, 0, best_of.NS
  )
  if not cells and not needs_gold:
    return
  bar = tqdm.tqdm(total=sum(len(cell.missing) for cell in cells), unit="curve")
  bar.set_description_str("SFT")
  base = ops_policy.prepare("decoder", samples_each=2)
  bar.set_description_str("pool")
  pool = best_of.draw(base)
  if needs_gold:
    points.add(_best_of(pool, GOLD, 0, pool.gold, 0.0))
  trainers: dict[str, Trainer] = {}
  log: Feedback | None = None
  for cell in cells:
    if cell.size not in trainers:
      trainers[cell.size] = Trainer(base, cell.size)
    if log is None or log.seed != cell.seed:
      log = ops_log.collect(base, cell.seed)
    bar.set_description_str(f"{cell.size}, {cell.data}, seed {cell.seed}")
    _run_cell(cell, base, pool, trainers[cell.size], log, points, bar.update)
  bar.close()


def _run_cell(
  cell: Cell,
  base: Base,
  pool: Pool,
  trainer: Trainer,
  log: Feedback,
  points: Points,
  passed: Callable[[], object],
) -> None:
  scored: dict[int, np.ndarray] = {}  # an ensemble shares its members
  for proxy in proxies.make(trainer, log, cell.data):
    wanted = [m for m, name in cell.missing if name == proxy.name]
    if not wanted:
      continue
    began = time.process_time()
    for params in proxy.params:
      if id(params) not in scored:
        scored[id(params)] = pool.raw(proxy.learner, params)
    raw = np.stack([scored[id(params)] for params in proxy.params])
    known = proxy.scaled(raw, pool.gold)
    for method in wanted:
      if method == BEST_OF:
        scores = known.joined(raw)
        spent = time.process_time() - began
        points.add(_best_of(pool, proxy.name, cell.seed, scores, spent))
      else:
        _train(method, known, base, pool, log, points)
      passed()
  ops.forget()


def _train(
  method: str,
  proxy: Proxy,
  base: Base,
  pool: Pool,
  log: Feedback,
  points: Points,
) -> None:
  """Adds the points of a trained method that are missing."""
  for made in trained.points(method, proxy, base, pool, log, points.found):
    points.add(made)


def _best_of(
  pool: Pool, name: str, seed: int, scores: np.ndarray, seconds: float
) -> list[Point]:
  gold0 = pool.gold.mean(axis=1)
  mean = scores.mean(axis=1)
  found = []
  for n in best_of.NS:
    gold = best_of.curve(scores, pool.gold, n) - gold0
    gained = best_of.curve(scores, scores, n) - mean
    found.append(
      Point(
        label=f"{BEST_OF}, {name}",
        method=BEST_OF,
        proxy=name,
        seed=seed,
        strength=n,
        kl=round(kl_bound(n), 6),
        kl_ties=round(best_of.kl_with_ties(scores, n), 6),
        gold=round(float(gold.mean()), 6),
        proxy_gain=round(float(gained.mean()), 6),
        folds=folds(gold),
        seconds=round(seconds / len(best_of.NS), 3),
      )
    )
  return found


def folds(values: np.ndarray) -> list[float]:
  """Means on `FOLDS` disjoint runs of prompts: [P] -> `Point.folds`."""
  return [
    round(float(part.mean()), 6) for part in np.array_split(values, FOLDS)
  ]
