"""Compare contestants with each other under one judge, and word the result."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from offalign.errors import UserError, render
from offalign.generation.completions import (
  Completions,
  Cuts,
  Prompt,
  align,
  cuts,
)
from offalign.judges import Judge, standings
from offalign.judges.base import Verdicts
from offalign.judges.win_rates import FOLDS, WinRate, win_rate
from offalign.leaderboard.rows import jsonable
from offalign.statistics import outcomes

_NO_VERDICT = ("malformed", "refused", "failed", "capped", "unrated")


@dataclasses.dataclass(frozen=True)
class Duel:
  """One contestant against another.

  Attributes:
    a: its name.
    b: the other's.
    found: how often a is preferred; None where nothing was judged.
    counts: those of the judge, and "comparisons".
    mean_lengths: characters a completion, of a and b.
    cuts: completions that did not end, and cut prompts, of a and b.
    said: the judge's verdicts, in the order of a's completions.
    prompts: distinct ones, in the order of `found.outcomes`.
    nats: mean log-ratio of a to b on a's own completions, an estimate of
      KL(a || b), with its standard error; None where one of the two is no
      policy whose log-probs can be had.
  """

  a: str
  b: str
  found: WinRate | None
  counts: dict[str, int]
  mean_lengths: tuple[float, float]
  cuts: tuple[Cuts, Cuts]
  said: Verdicts | None = dataclasses.field(
    default=None, compare=False, repr=False
  )
  prompts: tuple[Prompt, ...] = dataclasses.field(default=(), repr=False)
  nats: tuple[float, float] | None = None


def duel(
  judge: Judge, a: Completions, b: Completions, folds: int = FOLDS
) -> Duel:
  """Judges the completions that two contestants wrote for each prompt.

  Raises:
    UserError: where their prompts differ; or see the judge.
  """
  i, j = align(a, b)
  prompts = [a.prompts[k] for k in i]
  first, second = [a.texts[k] for k in i], [b.texts[k] for k in j]
  said = judge.compare(prompts, first, second)
  lengths = [len(x) for x in first], [len(x) for x in second]
  found = None
  if not all(x != x for x in said.preferences):
    found = win_rate(said.preferences, prompts, lengths, folds=folds)
  n = len(prompts)
  both = (
    cuts([a.ends[k] for k in i] if a.ends else (), n),
    cuts([b.ends[k] for k in j] if b.ends else (), n),
  )
  if found is not None:
    shares = _share(both[0]), _share(both[1])
    found = dataclasses.replace(found, unfinished=shares)
  return Duel(
    a.name,
    b.name,
    found,
    {"comparisons": n, **said.counts},
    (sum(lengths[0]) / n, sum(lengths[1]) / n),
    both,
    said,
    tuple(dict.fromkeys(prompts)),
  )


def _share(found: Cuts) -> float | None:
  """Of the completions that are known to have ended or not."""
  known = found.completions - found.unknown
  return None if found.unfinished is None else found.unfinished / known


def contest(
  judge: Judge, contestants: Sequence[Completions], folds: int = FOLDS
) -> list[Duel]:
  """Every contestant against every later one, those against the last first.

  Raises:
    UserError: for fewer than two, or two of one name; or see `duel`.
  """
  names = [c.name for c in contestants]
  if len(names) < 2 or len(set(names)) < len(names):
    raise UserError(
      "a contest is of two or more files of different names, not "
      f"{', '.join(names) or 'none'}"
    )
  *others, last = contestants
  pairs = [(a, last) for a in others]
  pairs += [(a, b) for k, a in enumerate(others) for b in others[k + 1 :]]
  return [duel(judge, a, b, folds) for a, b in pairs]


def write(
  folder: str | pathlib.Path, judge: Judge, duels: Sequence[Duel]
) -> None:
  """Writes winrates.json and winrates.md into a folder."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  record = as_record(judge, duels)
  (folder / "winrates.json").write_text(
    json.dumps(jsonable(record), indent=1) + "\n", encoding="utf-8"
  )
  (folder / "winrates.md").write_text(markdown(judge, duels), encoding="utf-8")


def as_record(judge: Judge, duels: Sequence[Duel]) -> dict[str, Any]:
  """All of it as JSON; outcomes are in the order of "prompt_ids"."""
  table = [standings.by_prompt(d) for d in duels]
  ids = list(dict.fromkeys(key for each in table for key in each))
  return {
    "judge": judge.spec,
    "prompt_ids": ids,
    "duels": [
      {
        "a": d.a,
        "b": d.b,
        "win_rate": None if d.found is None else _rate(d.found),
        "outcomes": outcomes.encode(each.get(key, math.nan) for key in ids)
        if each
        else None,
        "nats": d.nats,
        "counts": d.counts,
        "mean_lengths": d.mean_lengths,
        "cuts": [dataclasses.asdict(side) for side in d.cuts],
      }
      for d, each in zip(duels, table, strict=True)
    ],
    "matrix": matrix(duels),
    **standings.as_record(duels),
  }


def _rate(found: WinRate) -> dict[str, Any]:
  record = dataclasses.asdict(found)
  del record["outcomes"]  # in the file's own order beside it
  return {**record, "se": found.se, "fold_sd": found.fold_sd}


def matrix(duels: Sequence[Duel]) -> dict[str, dict[str, float]]:
  """Who is preferred how often to whom: out[a][b] + out[b][a] = 1."""
  out: dict[str, dict[str, float]] = {}
  for d in duels:
    if d.found is not None:
      out.setdefault(d.a, {})[d.b] = d.found.rate
      out.setdefault(d.b, {})[d.a] = 1.0 - d.found.rate
  return out


def markdown(judge: Judge, duels: Sequence[Duel]) -> str:
  """The same for people."""
  lines = [
    "# Win rates",
    "",
    f"Judge: `{judge.spec}`. Ties count 1/2. In brackets the 95% interval: "
    "Wilson's over prompts, narrowed by what ties leave of the variance, and "
    "by bootstrap over prompts where lengths are controlled for. SE is the "
    "standard error over prompts. KL is the mean log-ratio to the other side "
    "on the contestant's own completions, ± its standard error, in nats.",
    "",
    "| | against | win rate | SE | KL | length-controlled | ties | judged |",
    "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
    *map(_line, duels),
    "",
  ]
  table = matrix(duels)
  if len(table) > 2:
    names = list(dict.fromkeys([d.a for d in duels] + [duels[0].b]))
    head = " | ".join(f"vs {_cell(name)}" for name in names)
    lines += ["## Head to head", "", f"| | {head} |", "| :--- |" + _rule(names)]
    for a in names:
      cells = [
        f"{table[a][b]:.3f}" if b in table.get(a, {}) else "–" for b in names
      ]
      lines.append(f"| {_cell(a)} | {' | '.join(cells)} |")
    lines.append("")
  lines += standings.markdown(duels)
  lines += ["## What was asked and spent", ""]
  keys = list(dict.fromkeys(key for d in duels for key in d.counts))
  lines += [
    f"| | against | {' | '.join(key.replace('_', ' ') for key in keys)} |",
    "| :--- | :--- |" + _rule(keys),
  ]
  for d in duels:
    cells = [f"{d.counts.get(key, 0):,}" for key in keys]
    lines.append(f"| {_cell(d.a)} | {_cell(d.b)} | {' | '.join(cells)} |")
  lines += ["", "## What was cut", "", *_cut_table(duels)]
  said = [f"{render(sentence)}\n" for sentence in warnings(duels)]
  return "\n".join([*lines, "", *said])


def _line(d: Duel) -> str:
  if d.found is None:
    return f"| {_cell(d.a)} | {_cell(d.b)} | – | – | – | – | – | 0 |"
  f = d.found
  error = "–" if f.se is None else f"{f.se:.3f}"
  nats = "–" if d.nats is None else f"{d.nats[0]:.2f} ± {d.nats[1]:.2f}"
  controlled = "–"
  if f.length_controlled is not None:
    controlled = (
      f"{f.length_controlled:.3f} [{f.length_low:.3f}, {f.length_high:.3f}]"
    )
  return (
    f"| {_cell(d.a)} | {_cell(d.b)} | {f.rate:.3f} [{f.low:.3f}, {f.high:.3f}] "
    f"| {error} | {nats} | {controlled} | {f.ties:.1%} | {f.comparisons:,} of "
    f"{d.counts['comparisons']:,} |"
  )


def _cut_table(duels: Sequence[Duel]) -> list[str]:
  lines = [
    "| | completions | unfinished | not known | prompts cut |",
    "| :--- | ---: | ---: | ---: | ---: |",
  ]
  for name, side in _sides(duels).items():
    unfinished = "–" if side.unfinished is None else f"{side.unfinished:,}"
    lines.append(
      f"| {_cell(name)} | {side.completions:,} | {unfinished} | "
      f"{side.unknown:,} | {side.prompts:,} |"
    )
  return lines


def _sides(duels: Sequence[Duel]) -> dict[str, Cuts]:
  found: dict[str, Cuts] = {}
  for d in duels:
    found |= {d.a: d.cuts[0], d.b: d.cuts[1]}
  return found


def warnings(duels: Sequence[Duel]) -> list[str]:
  """What was cut, or left out of a win rate, in sentences."""
  said = []
  for name, side in _sides(duels).items():
    said += side.sentences(name)
  for d in duels:
    lost = {key: d.counts.get(key, 0) for key in _NO_VERDICT}
    if any(lost.values()):
      parts = ", ".join(f"{n:,} {key}" for key, n in lost.items() if n)
      said.append(
        f"{d.a} against {d.b}: {parts} of "
        f"{d.counts['comparisons']:,} comparisons have no verdict and are in "
        "no figure."
      )
    if equal := d.counts.get("equal_tokens", 0):
      said.append(
        f"{d.a} against {d.b}: {equal:,} of {d.counts['comparisons']:,} "
        "comparisons are ties because the judge's chat template or limits "
        "make the same tokens of two texts that differ."
      )
    read = [
      f"{n:,} {key.removeprefix('cut_')}"
      for key in ("cut_prompts", "cut_completions")
      if (n := d.counts.get(key, 0))
    ]
    if read:
      said.append(
        f"{d.a} against {d.b}: the judge read {' and '.join(read)} only as far "
        "as its run's limits go."
      )
    if d.counts.get("cut_answers"):
      said.append(
        f"{d.a} against {d.b}: {d.counts['cut_answers']:,} answers of the "
        "judge gave no verdict within its max_tokens; give it more."
      )
  return said


def _rule(columns: Sequence[str]) -> str:
  return " ---: |" * len(columns)


def _cell(name: str) -> str:
  return name.replace("|", "\\|")
