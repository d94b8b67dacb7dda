"""--suite=overoptimisation of benchmarks.run: its rows and its page."""

import pathlib

from benchmarks.overoptimisation import report, suite
from benchmarks.overoptimisation.points import FILE, read


def run(out: str, methods: str, seeds: int | None) -> int:
  """Runs what a folder does not hold yet, and writes its page.

  Args:
    out: the folder; the same command goes on with what it holds.
    methods: by name, separated by semicolons.
    seeds: default 5.

  Returns:
    The exit status.

  Raises:
    UserError: for a method that the suite does not have.
  """
  folder = pathlib.Path(out)
  suite.run(folder, suite.choose(methods), seeds or 5)
  print(f"report: {report.write(folder, read(folder / FILE))}")
  return 0
