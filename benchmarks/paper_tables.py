"""python -m benchmarks.paper_tables DIR: the DRO paper's tables beside ours.

Reads the rows that `--suite=paper` left in DIR and writes paper.md there, and
the leaderboard's report with these verdicts.
"""

import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import paper_plot
from benchmarks.claims import (
  ABSENT,
  HOLDS,
  NONE,
  UNOPPOSED,
  Claim,
  Match,
  Measure,
  Results,
  worst,
)
from benchmarks.paper import TABLES, Table
from offalign import leaderboard
from offalign.errors import UserError
from offalign.files import write_json
from offalign.leaderboard import Row
from offalign.leaderboard.report import tables
from offalign.leaderboard.report.markdown import table as markdown

FILE = "paper.md"
Oracle = Mapping[str, Sequence[Mapping[str, Any]]]
"""track/scenario/model -> points of its frontier, as meta.json has them."""
RULE = (
  "A claim of the paper holds, or does not hold at our scale, where the 95% "
  "interval of the difference, paired by prompt, is on one side of 0. Each is "
  "at 95% by itself, so that of twenty claims about nothing one is resolved by "
  "chance. Each is judged by win rate, and by efficiency where it compares "
  f"methods. The tables and their numbers are in {FILE}."
)
_HEAD = """# The DRO paper's tables at our scale

Win rates of arXiv:2405.19107 (UltraFeedback, T5-L of 770M and T5-XL of 3B
parameters, judged by PaLM 2) beside those of the `ops` track (models of about
58 thousand parameters, judged by a program), mean over seeds ± standard error
over seeds and prompts. The paper's own ± (.003 to .010, a deviation over five
folds) is not printed: five folds of independent prompts would differ by more
than that by chance alone, so it is not the error of these columns.

A claim holds, or does not at our scale, where the 95% interval of the
difference, paired by prompt, is on one side of 0; otherwise it is within the
noise, or, where it says that nothing is better, not contradicted. Where the
exact optimum of the method's tau wins less than the rival did, no learner could
have made the claim true, and it cannot be tested at this tau here. Win rate
favours whoever goes furthest from the reference: what compares methods is
judged by efficiency too, the reward gained as a share of the most that its KL
can buy. Each verdict is at 95% by itself: of twenty claims about nothing one is
resolved by chance.
"""


def write(folder: str | pathlib.Path, rows: Sequence[Row]) -> str:
  """Writes paper.md and its picture into the rows' folder; returns the text."""
  folder = pathlib.Path(folder)
  optima = _optima(folder)
  text = render(rows, optima)
  pictures = paper_plot.draw(folder, _models(rows, optima))
  shown = "".join(f"\n![{path}]({path})\n" for path in pictures)
  (folder / FILE).write_text(text + shown, encoding="utf-8")
  return text


def renew(folder: str | pathlib.Path) -> str:
  """Writes tables and report again, from the rows; returns the tables.

  Raises:
    UserError: for a folder that holds no finished run.
  """
  rows = leaderboard.read(folder)[0]
  meta = pathlib.Path(folder) / "meta.json"
  if not meta.exists():
    raise UserError(f"{folder} has no meta.json; did its run finish?")
  about = json.loads(meta.read_text(encoding="utf-8"))
  write_json(meta, {**about, "verdicts": verdicts(rows, about["oracle"])})
  leaderboard.write(leaderboard.load(folder), folder)
  return write(folder, rows)


def render(rows: Sequence[Row], oracle: Oracle | None = None) -> str:
  """All tables, model by model.

  Args:
    rows: of the suite.
    oracle: of its meta.json.
  """
  blocks = [_HEAD]
  for model, results in _models(rows, oracle).items():
    blocks.append(f"## {model}\n")
    for table in TABLES:
      blocks += _table(table, results)
  return "\n".join(blocks)


def verdicts(rows: Sequence[Row], oracle: Oracle | None = None) -> list[str]:
  """A sentence for each table of each model, for the leaderboard's report."""
  out = [RULE]
  for model, results in _models(rows, oracle).items():
    name = model.partition("(")[0]
    for table in TABLES:
      found = _judged(table.claims, results)
      said = "; ".join(f"{c.text}: {_both(v)}" for c, v in found.items())
      if any(v["win"][0] != ABSENT for v in found.values()):
        out.append(f"{name}, {table.title}: {said}.")
  return out


Verdict = dict[Measure, tuple[str, str]]
"""Measure -> (verdict, numbers)."""


def _judged(claims: Sequence[Claim], results: Results) -> dict[Claim, Verdict]:
  return {
    claim: {
      "win": claim.verdict(results),
      "efficiency": claim.verdict(results, "efficiency"),
    }
    for claim in claims
  }


def _both(found: Verdict) -> str:
  """Both verdicts as a half-sentence."""
  win, efficiency = found["win"][0], found["efficiency"][0]
  if efficiency in (NONE, ABSENT):
    return win
  return f"{win} (by efficiency: {efficiency})"


def _models(
  rows: Sequence[Row], oracle: Oracle | None = None
) -> dict[str, Results]:
  names = dict.fromkeys(row.model for row in rows if row.track == "ops")
  out = {}
  for name in names:
    mine = [r for r in rows if (r.track, r.model) == ("ops", name)]
    key = "/".join(mine[0].group)
    optimum = {
      float(point["tau"]): float(point["win"])
      for point in (oracle or {}).get(key, ())
      if "tau" in point
    }
    out[name] = Results(mine, optimum)
  return out


def _optima(folder: pathlib.Path) -> Oracle:
  meta = folder / "meta.json"
  if not meta.exists():
    return {}
  found: Oracle = json.loads(meta.read_text(encoding="utf-8"))["oracle"]
  return found


def _table(table: Table, results: Results) -> list[str]:
  columns = list(dict.fromkeys(c for m in table.matches for c, _ in m.paper))
  rows = [_cells(match, columns, results) for match in table.matches]
  titles = ["", *(f"paper, {c}" for c in columns), "ours", "KL", "eff", "of"]
  fields = [
    tables.Field(title, tuple(column), bool(title) and title != "of")
    for title, column in zip(titles, zip(*rows, strict=True), strict=True)
  ]
  out = [f"### {table.title}\n", markdown(fields), ""]
  if table.note:
    out += [table.note, ""]
  found = _judged(table.claims, results)
  for claim, verdicts_of in found.items():
    out.append(f"* {claim.text}: {_spelled(verdicts_of)}")
  said = [each["win"][0] for each in found.values()]
  kept = sum(verdict in (HOLDS, UNOPPOSED) for verdict in said)
  count = f"{kept} of {len(said)} claims hold or are not contradicted"
  return [*out, "", f"Verdict by win rate: **{worst(said)}** ({count}).", ""]


def _spelled(found: Verdict) -> str:
  """Both verdicts with their numbers."""
  parts = []
  for measure, (verdict, numbers) in found.items():
    name = "by win rate" if measure == "win" else "by efficiency"
    if verdict == NONE or (measure == "efficiency" and verdict == ABSENT):
      continue
    tail = f" ({numbers})" if numbers else ""
    parts.append(f"{name} **{verdict}**{tail}")
  return "; ".join(parts)


def _cells(
  match: Match, columns: Sequence[str], results: Results
) -> tuple[str, ...]:
  """name, the paper's columns, ours, KL, efficiency, and whose they are."""
  paper = dict(match.paper)
  cells = [match.name]
  for column in columns:
    share = paper.get(column)
    cells.append(tables.NONE if share is None else f"{share:.3f}")
  won = results.found(match)
  if won is None:
    return (*cells, ABSENT, tables.NONE, tables.NONE, tables.NONE)
  cells.append(f"{won.estimate.mean:.3f} ± {won.estimate.se:.3f}")
  for key, places in (("kl", 2), ("efficiency", 2)):
    value = results.metric(match, key)
    cells.append(tables.NONE if value is None else f"{value:.{places}f}")
  a, b = results.chosen(match.a), results.chosen(match.b)
  return (*cells, f"{a}" if b == "sft" else f"{a}, {b}")


def main(argv: Sequence[str]) -> int:
  """Writes and prints the tables; returns the exit status."""
  try:
    if len(argv) != 2:
      raise UserError("name the folder of the rows, and nothing else")
    print(renew(argv[1]))
  except UserError as error:
    print(f"benchmarks.paper_tables: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
