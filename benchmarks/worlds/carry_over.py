"""python -m benchmarks.worlds.carry_over DIR DIR ..: orders across worlds.

Reads the rows of two or more boards that have methods in common, and writes
what of a board's order holds on the others: rank correlations with intervals,
and the pairs of methods whose order is resolved on both.
"""

import collections
import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.worlds import ranks
from offalign import leaderboard, losses
from offalign.errors import UserError, printable
from offalign.leaderboard import Row
from offalign.statistics import outcomes as outcomes_lib
from offalign.statistics.differences import difference
from offalign.statistics.multiple import ALPHA, holm

METRICS = {
  "win_vs_sft": "win rate against SFT",
  "reward_gain": "reward gain",
  "efficiency": "efficiency",
}
PAGE = "carry_over.md"
LEAST = 3
"""Methods that two boards must share: of two, a correlation is +1 or -1."""
NAMED = 6
"""So many swapped pairs are named."""
DRAWS = 2000

Tables = dict[str, np.ndarray]
"""method -> [S, N] outcomes of seeds on prompts, or [S, 1]."""


@dataclasses.dataclass(frozen=True)
class Board:
  """A group of rows that are ranked together.

  Attributes:
    name: short, and no other board's.
    tables: metric -> method -> outcomes.
    world: its track.
    scenario: the log and the strengths, as its rows name them.
    remarks: what its folder's notes say of it, such as of a judge.
  """

  name: str
  tables: Mapping[str, Tables]
  world: str = ""
  scenario: str = ""
  remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Shared:
  """How far two boards agree on one metric.

  Attributes:
    boards: their names.
    methods: that both have.
    spearman: with the 95% interval.
    kendall: tau-b, with the 95% interval.
    resolved: on either board, how many of the pairs of methods are.
    agree: pairs (better, worse) resolved alike on both.
    swap: pairs (better on the first, worse there) resolved the other way on
      the second.
    pairs: of methods.
  """

  boards: tuple[str, str]
  methods: tuple[str, ...]
  spearman: ranks.Interval
  kendall: ranks.Interval
  resolved: tuple[int, int]
  agree: tuple[tuple[str, str], ...]
  swap: tuple[tuple[str, str], ...]
  pairs: int


def boards(folders: Sequence[str | os.PathLike[str]]) -> list[Board]:
  """Reads the boards of the folders, in order.

  Raises:
    UserError: for a folder without rows.
  """
  groups: dict[tuple[str, str, str], list[Row]] = {}
  notes: list[str] = []
  for folder in folders:
    rows = leaderboard.read(folder)[0]
    notes += leaderboard.load(folder).meta.notes
    for row in rows:
      if row.status == "ok" and not row.control:
        groups.setdefault(row.group[:3], []).append(row)
  names = _names(list(groups))
  return [
    Board(
      names[key],
      {metric: _tables(rows, metric) for metric in METRICS},
      *key[:2],
      tuple(
        dict.fromkeys(
          note
          for note in notes
          if note.startswith(f"{key[0]}: ") and "judge" in note
        )
      ),
    )
    for key, rows in groups.items()
  ]


def _names(keys: list[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
  """The least of (track, scenario, model) that tells the boards apart."""
  short = {k: (k[0], k[1], k[2].partition("(")[0]) for k in keys}
  for parts in ((0,), (0, 1), (0, 2), (0, 1, 2)):
    found = {k: ", ".join(short[k][i] for i in parts) for k in keys}
    if len(set(found.values())) == len(keys):
      return found
  return {k: ", ".join(k) for k in keys}


def _methods(rows: Sequence[Row]) -> dict[str, str]:
  """label -> method, which is the same at whatever strength on other boards.

  That is the loss without its numbers, where the board has it once, or else
  the label.
  """
  specs = {row.label: row.loss for row in rows}
  bare = {label: _bare(spec) for label, spec in specs.items()}
  times = collections.Counter(bare.values())
  return {
    label: loss if times[loss] == 1 else label for label, loss in bare.items()
  }


def _bare(spec: str) -> str:
  """A loss without its numbers: kto(beta=1, threshold=prompt) without beta."""
  loss = losses.get(spec)
  words = [f"{k}={v}" for k, v in loss.items if isinstance(v, str)]
  own = [word for word in words if word in str(loss)]
  return f"{loss.name}({', '.join(own)})" if own else loss.name


def _tables(rows: Sequence[Row], metric: str) -> Tables:
  """A metric's outcomes by method; of seeds alone where prompts lack."""
  found: Tables = {}
  for label, method in _methods(rows).items():
    own = [r for r in rows if r.label == label and metric in r.metrics]
    if not own:
      continue
    if all(metric in row.outcomes for row in own):
      kept = [outcomes_lib.decode(row.outcomes[metric]) for row in own]
    else:
      kept = [np.array([row.metrics[metric]]) for row in own]
    if len({len(values) for values in kept}) == 1:
      found[method] = np.stack(kept)
  # Prompts are paired where every method has them.
  if len({table.shape[1] for table in found.values()}) > 1:
    found = {k: table.mean(axis=1, keepdims=True) for k, table in found.items()}
  return found


def compare(
  first: Board, second: Board, metric: str, draws: int = DRAWS
) -> Shared | None:
  """How far two boards agree; None where they share fewer than `LEAST`.

  Args:
    first: one board.
    second: another, of other prompts.
    metric: one of `METRICS`.
    draws: of the bootstrap.
  """
  a, b = first.tables[metric], second.tables[metric]
  methods = tuple(name for name in a if name in b)
  if len(methods) < LEAST:
    return None
  sides = [[table[name] for name in methods] for table in (a, b)]
  spearman, kendall = ranks.correlations(*sides, draws=draws)
  orders = [_resolved(methods, tables) for tables in sides]
  turned = {(worse, better) for better, worse in orders[1]}
  return Shared(
    (first.name, second.name),
    methods,
    spearman,
    kendall,
    (len(orders[0]), len(orders[1])),
    tuple(pair for pair in orders[0] if pair in orders[1]),
    tuple(pair for pair in orders[0] if pair in turned),
    len(methods) * (len(methods) - 1) // 2,
  )


def _resolved(
  methods: Sequence[str], tables: Sequence[np.ndarray]
) -> dict[tuple[str, str], float]:
  """(better, worse) of a board -> Holm's p, of the pairs that are resolved."""
  pairs = list(itertools.combinations(range(len(methods)), 2))
  found = [difference(tables[i], tables[j]) for i, j in pairs]
  out = {}
  for (i, j), one, p in zip(
    pairs, found, holm([one.p for one in found]), strict=True
  ):
    if p <= ALPHA:
      better, worse = (i, j) if one.mean > 0 else (j, i)
      out[methods[better], methods[worse]] = p
  return out


def page(found: Sequence[Board], draws: int = DRAWS) -> str:
  """The tables and what they say, as Markdown.

  Args:
    found: two boards or more.
    draws: of the bootstrap.

  Raises:
    UserError: where no two of them share `LEAST` methods.
  """
  parts = [
    "# What carries over between worlds",
    "",
    "Rank correlations of the methods that two boards share, by their means "
    "over seeds and prompts. The 95% intervals are by bootstrap over seeds and "
    "prompts of both; of efficiency, which is known for each seed alone, over "
    "seeds. Noise in either order draws a correlation towards 0, so that of "
    "equal orders it is below 1. A pair of methods is resolved on a board at "
    f"{ALPHA:g} by Holm's correction over all pairs there, paired by prompt.",
    "",
  ]
  said = [note for board in found for note in board.remarks]
  parts += [f"* {note}" for note in said] + ([""] if said else [])
  any_shared = False
  for metric, title in METRICS.items():
    shared = [
      one
      for a, b in itertools.combinations(found, 2)
      if _nearest(a, b, found) and (one := compare(a, b, metric, draws))
    ]
    if not shared:
      continue
    any_shared = True
    parts += [f"## {title[0].upper()}{title[1:]}", ""]
    parts += [*_table(shared), ""]
    parts += [*(f"* {sentence(one, title)}" for one in shared), ""]
  if not any_shared:
    raise UserError(
      f"no two of these boards share {LEAST} methods: run the same --methods "
      "in every world"
    )
  return "\n".join(parts)


def _nearest(a: Board, b: Board, found: Sequence[Board]) -> bool:
  """Whether two boards differ in one thing, as far as there are such boards."""
  there = {(board.world, board.scenario) for board in found}
  return not there & {(a.world, b.scenario), (b.world, a.scenario)} or (
    a.world == b.world or a.scenario == b.scenario
  )


def _table(shared: Sequence[Shared]) -> list[str]:
  lines = [
    "| boards | methods | Spearman | Kendall | resolved on each, of | alike on "
    "both | swapped |",
    "| :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
  ]
  for one in shared:
    lines.append(
      f"| {' and '.join(one.boards)} | {len(one.methods)} | {one.spearman} | "
      f"{one.kendall} | {one.resolved[0]} and {one.resolved[1]} of {one.pairs} "
      f"| {len(one.agree)} | {len(one.swap)} |"
    )
  return lines


def sentence(one: Shared, title: str) -> str:
  """What two boards say of each other, in plain words.

  Args:
    one: the comparison.
    title: of the metric.
  """
  first, second = one.boards
  low, high = one.spearman.low, one.spearman.high
  if not (low > 0 or high < 0):
    said = (
      f"whether the order by {title} of {first} says anything of that of "
      f"{second} is not resolved"
    )
  elif low > 0:
    said = f"the order by {title} of {first} carries over to {second} in part"
    if one.swap:
      said += ", with exceptions"
  else:
    said = f"the order by {title} of {first} is turned round on {second}"
  said += (
    f" (Spearman {one.spearman}). {len(one.agree)} of {one.pairs} pairs of "
    "methods are resolved alike on both"
  )
  if one.swap:
    turned = "; ".join(f"`{a}` over `{b}`" for a, b in one.swap[:NAMED])
    more = f", and {len(one.swap) - NAMED} more" if one.swap[NAMED:] else ""
    said += (
      f"; resolved on both and swapped are {len(one.swap)}, on {first} "
      f"{turned}{more}."
    )
  else:
    said += ", and none is resolved on both and swapped."
  return said[0].upper() + said[1:]


def write(
  folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] = ""
) -> pathlib.Path:
  """Writes the page of the boards of some folders; returns its path.

  Args:
    folders: with rows.
    out: the file; "" for `PAGE` in the folder that holds them all.
  """
  path = pathlib.Path(out or os.path.commonpath(map(os.path.abspath, folders)))
  if not out:
    path /= PAGE
  text = page(boards(folders))
  path.write_text(text, encoding="utf-8")
  return path


def main(argv: Sequence[str]) -> int:
  """Writes the page; returns the exit status."""
  folders = [word for word in argv[1:] if not word.startswith("--")]
  flags = [word for word in argv[1:] if word.startswith("--")]
  out = ""
  try:
    for flag in flags:
      name, _, out = flag.partition("=")
      if name != "--out" or not out:
        raise UserError(f"no flag {printable(flag)}: there is --out=FILE alone")
    if not folders:
      raise UserError("name the folders of two boards or more")
    print(write(folders, out))
  except UserError as error:
    print(f"benchmarks.worlds.carry_over: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
