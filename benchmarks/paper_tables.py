"""python -m benchmarks.paper_tables DIR: the DRO paper's tables beside ours.

Reads the rows that `--suite=paper` left in DIR and writes paper.md there, and
the leaderboard's report with these verdicts.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

from benchmarks import paper_plot
from benchmarks.claims import ABSENT, HOLDS, Claim, Match, Results, worst
from benchmarks.paper import TABLES, Table
from offalign import leaderboard
from offalign.errors import UserError
from offalign.files import write_json
from offalign.leaderboard import Row
from offalign.leaderboard.report import tables
from offalign.leaderboard.report.markdown import table as markdown

FILE = "paper.md"
RULE = (
  "A claim of the paper holds, or does not hold at our scale, where a "
  "difference of win rates is more than twice the larger of their spreads; "
  "otherwise it is within the noise. The tables and their numbers are in "
  f"{FILE}."
)
_HEAD = """# The DRO paper's tables at our scale

Win rates of arXiv:2405.19107 (UltraFeedback, T5-L of 770M and T5-XL of 3B
parameters, judged by PaLM 2) beside those of the `ops` track (models of about
58 thousand parameters, judged by a program), mean over seeds. ± is the
paper's deviation over folds, and ours by the rule of `benchmarks/claims.py`:
the larger of the deviation over seeds and of the error that the test prompts
leave. A claim holds, or does not at our scale, where a difference is more
than twice that; otherwise it is within the noise.
"""


def write(folder: str | pathlib.Path, rows: Sequence[Row]) -> str:
  """Writes paper.md and its picture into the rows' folder; returns the text."""
  folder = pathlib.Path(folder)
  text = render(rows)
  pictures = paper_plot.draw(folder, _models(rows))
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
  write_json(meta, {**about, "verdicts": verdicts(rows)})
  leaderboard.write(leaderboard.load(folder), folder)
  return write(folder, rows)


def render(rows: Sequence[Row]) -> str:
  """All tables, model by model."""
  blocks = [_HEAD]
  for model, results in _models(rows).items():
    blocks.append(f"## {model}\n")
    for table in TABLES:
      blocks += _table(table, results)
  return "\n".join(blocks)


def verdicts(rows: Sequence[Row]) -> list[str]:
  """A sentence for each table of each model, for the leaderboard's report."""
  out = [RULE]
  for model, results in _models(rows).items():
    name = model.partition("(")[0]
    for table in TABLES:
      found = _judged(table.claims, results)
      said = "; ".join(f"{c.text}: {v}" for c, (v, _) in found.items())
      if any(v != ABSENT for v, _ in found.values()):
        out.append(f"{name}, {table.title}: {said}.")
  return out


def _judged(
  claims: Sequence[Claim], results: Results
) -> dict[Claim, tuple[str, str]]:
  """Claim -> (verdict, numbers)."""
  return {claim: claim.verdict(results) for claim in claims}


def _models(rows: Sequence[Row]) -> dict[str, Results]:
  names = dict.fromkeys(row.model for row in rows if row.track == "ops")
  return {
    name: Results([r for r in rows if (r.track, r.model) == ("ops", name)])
    for name in names
  }


def _table(table: Table, results: Results) -> list[str]:
  columns = list(dict.fromkeys(c for m in table.matches for c, *_ in m.paper))
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
  for claim, (verdict, numbers) in found.items():
    tail = f" ({numbers})" if numbers else ""
    out.append(f"* {claim.text}: **{verdict}**{tail}")
  said = [verdict for verdict, _ in found.values()]
  count = f"{said.count(HOLDS)} of {len(said)} claims hold"
  return [*out, "", f"Verdict: **{worst(said)}** ({count}).", ""]


def _cells(
  match: Match, columns: Sequence[str], results: Results
) -> tuple[str, ...]:
  """name, the paper's columns, ours, KL, efficiency, and whose they are."""
  paper = {column: (share, sd) for column, share, sd in match.paper}
  cells = [match.name]
  for column in columns:
    share, sd = paper.get(column, (None, None))
    cells.append(
      tables.NONE
      if share is None
      else f"{share:.3f}" + (f" ± {sd:.3f}" if sd is not None else "")
    )
  won = results.won(match)
  if won is None:
    return (*cells, ABSENT, tables.NONE, tables.NONE, tables.NONE)
  cells.append(f"{won.share:.3f} ± {won.spread:.3f}")
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
