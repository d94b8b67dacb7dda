"""Mixtures of sources: rows drawn in given proportions, without state."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offalign.data.batches.batch import Sampler, permutation
from offalign.data.reading import paths
from offalign.data.reading.sqlite_rows import Database
from offalign.errors import UserError

_ORDER = 2**31  # a stream of random numbers beside those of the sources


def parse(path: str) -> tuple[tuple[str, float], ...]:
  """The sources of a mixture and their weights; () where it is none.

  Args:
    path: "a.jsonl:0.7,org/data:train:0.3": what `load` reads, a colon and a
      weight, separated by commas.

  Raises:
    UserError: where only some have a weight, one is not above 0, there is
      only one source, or a file is in two of them.
  """
  if paths.exists(path) or paths.is_query(path):
    return ()
  found = [_split(part.strip()) for part in path.split(",")]
  if all(weight is None for _, weight in found):
    return ()
  drawn = []
  for name, weight in found:
    if weight is None:
      raise UserError(
        f"{name!r} has no weight, but others in {path!r} have; give each "
        "source one, as a.jsonl:0.7,b.jsonl:0.3, or none"
      )
    if not 0 < weight < math.inf:
      raise UserError(
        f"source {name!r} has the weight {weight:g}, which must be above 0; "
        "leave out a source that nothing is to be drawn from"
      )
    drawn.append((name, weight))
  if len(drawn) == 1:
    raise UserError(
      f"{path!r} is one source with a weight, which would change nothing; "
      "leave the weight out, or name other sources"
    )
  _check_distinct([name for name, _ in drawn])
  return tuple(drawn)


def _split(part: str) -> tuple[str, float | None]:
  name, colon, weight = part.rpartition(":")
  if not colon or not name or paths.exists(part):
    return part, None
  try:
    return name, float(weight)
  except ValueError:
    return part, None  # a split of a data set of the hub


def _check_distinct(names: Sequence[str]) -> None:
  owner: dict[Path | Database | str, str] = {}
  for name in names:
    found = paths.find(name)
    for place in (*(f.resolve() for f in found.files), found.hub):
      if place is not None and place in owner:
        raise UserError(
          f"{place} is in two sources, {owner[place]!r} and {name!r}; name it "
          "once"
        )
      if place is not None:
        owner[place] = name


def quotas(weights: Sequence[float], n: int) -> tuple[int, ...]:
  """Whole numbers in proportion to the weights that add up to n.

  By largest remainders: each is less than 1 away from its exact share.

  >>> quotas([0.5, 0.3, 0.2], 11)
  (6, 3, 2)
  """
  total = math.fsum(weights)
  exact = [n * weight / total for weight in weights]
  out = [math.floor(share) for share in exact]
  by_rest = sorted(range(len(out)), key=lambda s: out[s] - exact[s])
  for s in by_rest[: n - sum(out)]:
    out[s] += 1
  return tuple(out)


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
  """Rows of several sources, and what share each is to have.

  Attributes:
    names: of the sources.
    weights: of the sources, above 0.
    of_row: int [N], the source of each row.
  """

  names: tuple[str, ...]
  weights: tuple[float, ...]
  of_row: np.ndarray

  def __post_init__(self) -> None:
    """Checks that every source is drawn from.

    Raises:
      UserError: naming one that would not be.
    """
    for name, quota, rows in zip(
      self.names, self.quotas, self.members, strict=True
    ):
      if not len(rows):
        raise UserError(f"source {name!r} has no row to draw; leave it out")
      if not quota:
        raise UserError(
          f"source {name!r} has so small a weight that an epoch of "
          f"{len(self.of_row):,} draws has none of its rows; raise it, or "
          "leave it out"
        )

  @functools.cached_property
  def quotas(self) -> tuple[int, ...]:
    """Draws of each source in an epoch of N draws."""
    return quotas(self.weights, len(self.of_row))

  @functools.cached_property
  def members(self) -> tuple[np.ndarray, ...]:
    """The rows of each source, int."""
    each = range(len(self.names))
    return tuple(np.flatnonzero(self.of_row == s) for s in each)

  @property
  def row_weights(self) -> np.ndarray:
    """float64 [N], how often each row is drawn in an epoch, on average."""
    sizes = [len(rows) for rows in self.members]
    return (np.array(self.quotas) / np.array(sizes))[self.of_row]

  def summary(self) -> dict[str, dict[str, int]]:
    """Source -> its rows, and its draws in an epoch; for run.json."""
    return {
      name: {"rows": len(rows), "draws": quota}
      for name, quota, rows in zip(
        self.names, self.quotas, self.members, strict=True
      )
    }

  def describe(self) -> list[str]:
    """What an epoch draws: a sentence for each source."""
    n = len(self.of_row)
    return [
      f"{name}: {each['draws']:,} of {n:,} draws an epoch "
      f"({each['draws'] / n:.1%}), each of its {each['rows']:,} rows "
      f"{each['draws'] / each['rows']:.3g} times"
      for name, each in self.summary().items()
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureSampler(Sampler):
  """Batches of several sources in given proportions: step -> row indices.

  Of the n draws of an epoch each source has its quota, spread evenly: the
  j-th of q draws falls at random into the j-th of q equal parts of the epoch.
  The draws of one source go through its rows as those of a `Sampler` do, each
  once before any comes again.

  Attributes:
    mixture: of the n rows.
  """

  mixture: Mixture

  def indices(self, step: int) -> np.ndarray:
    """int64 [batch_size], the rows of a step (from 0)."""
    places = np.arange(self.batch_size) + step * self.batch_size
    epochs, places = np.divmod(places, self.n)
    source = np.empty(self.batch_size, np.int64)
    draw = np.empty(self.batch_size, np.int64)  # of the source, from 0
    for epoch in np.unique(epochs).tolist():
      here = epochs == epoch
      of_place, rank = _spread(self.mixture.quotas, self.seed, epoch)
      source[here] = of_place[places[here]]
      before = epoch * np.array(self.mixture.quotas)
      draw[here] = before[source[here]] + rank[places[here]]
    found = np.empty(self.batch_size, np.int64)
    for s in np.unique(source).tolist():
      rows = self.mixture.members[s]
      turns, at = np.divmod(draw, len(rows))
      for turn in np.unique(turns[source == s]).tolist():
        here = (source == s) & (turns == turn)
        order = permutation(len(rows), self.seed, turn, s + 1)
        found[here] = rows[order[at[here]]]
    return found

  def parts(self, picked: np.ndarray) -> dict[str, np.ndarray]:
    """Source -> mask of the rows that are from it, bool like `picked`."""
    source = self.mixture.of_row[picked]
    return {name: source == s for s, name in enumerate(self.mixture.names)}


@functools.lru_cache(maxsize=4)
def _spread(
  quotas: tuple[int, ...], seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
  """Spreads an epoch's draws: the source of each, and its number there.

  Random within narrow limits: KTO pairs the prompt of a row with the
  completion of the next, which under a fixed pattern would always be of
  another source.
  """
  bits = np.random.Philox(np.random.SeedSequence([seed, epoch, _ORDER]))
  chance = (bits.random_raw(sum(quotas)) >> np.uint64(11)) * 2.0**-53
  source = np.repeat(np.arange(len(quotas)), quotas)
  rank = np.concatenate([np.arange(q) for q in quotas])
  order = np.argsort((rank + chance) / np.array(quotas)[source], kind="stable")
  return source[order], rank[order]
