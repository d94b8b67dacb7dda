"""Write the report of a folder: `python -m benchmarks.sentiment.report DIR`.

It reads the rows and completions that the suite has left, whole or not, and
writes report.md and report.html beside them.
"""

import pathlib
import sys
from collections.abc import Sequence

from benchmarks.sentiment import page, results, samples, text
from benchmarks.sentiment.folder import Folder
from benchmarks.sentiment.results import Results
from offalign.errors import UserError
from offalign.files import write_atomically


def write(folder: Folder) -> str:
  """Writes report.md and report.html; returns the first.

  Raises:
    UserError: where the folder is none of the suite's.
  """
  found = results.read(folder)
  said = markdown(found)
  write_atomically(folder.path / "report.md", said)
  write_atomically(folder.path / "report.html", page.page(found))
  return said


def markdown(found: Results) -> str:
  """The report as Markdown."""
  blocks = [
    f"# {text.TITLE}",
    text.lead(found),
    _bullets(text.verdicts(found)),
    "## Test openings",
    _table(text.HEAD, text.rows(found)),
    *text.NOTES,
  ]
  if found.missing:
    blocks += ["## What is missing", _bullets(found.missing)]
  blocks += [
    "## Rates",
    text.sweep_note(found),
    _table(text.SWEEP_HEAD, text.sweep_rows(found)),
    "## Samples",
    "The openings lie evenly among the test openings; the base model's text is "
    "of its first draw, the others' of their first run, all at temperature 1.",
  ]
  for shown in samples.choose(found):
    blocks.append(f"**{shown.opening}**")
    lines = [("base", shown.before), *shown.after]
    blocks.append(
      _bullets(
        [
          f"{who} ({x.reward:+.2f}): {_plain(samples.line(x))}"
          for who, x in lines
        ]
      )
    )
  blocks += [
    "## What it does not say",
    _bullets(text.limits(found)),
    "## How it was made",
    _bullets([*text.settings(found), *text.environment(found)]),
  ]
  return "\n\n".join(blocks) + "\n"


def _plain(said: str) -> str:
  """Text that Markdown shows as it is."""
  return "".join(f"\\{x}" if x in "\\`*_[]<>#|" else x for x in said)


def _bullets(items: Sequence[str]) -> str:
  return "\n".join(f"* {item}" for item in items)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  rule = [":---", *["---:"] * (len(head) - 1)]
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def main(argv: Sequence[str]) -> int:
  """Writes and prints the report; returns the exit status."""
  try:
    if len(argv) != 2:
      raise UserError("name the folder of the suite, and nothing else")
    print(write(Folder(pathlib.Path(argv[1]))))
  except UserError as error:
    print(f"benchmarks.sentiment.report: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
