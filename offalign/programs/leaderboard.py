"""python -m offalign.leaderboard DIR [--sort=METRIC]."""

import sys
from collections.abc import Sequence

from absl import app, flags

from offalign.errors import UserError
from offalign.leaderboard import load, render_text, write
from offalign.leaderboard.report.files import REPORTS

_SORT = flags.DEFINE_string(
  "sort",
  None,
  "Metric to rank by: metric, metric:min or metric:max. The default is "
  "regret in the theory track and the win rate in others.",
)


def main(argv: Sequence[str]) -> int:
  """Aggregates the rows of one folder; returns the exit status."""
  try:
    if len(argv) != 2:
      raise UserError(
        "give one folder of rows: python -m offalign.leaderboard DIR"
      )
    board = load(argv[1], sort=_SORT.value)
    written = write(board, argv[1])
  except UserError as error:
    print(error, file=sys.stderr)
    return 2
  print(render_text(board))
  reports = len(REPORTS)
  named = ", ".join(written[:reports])
  print(f"Wrote {named} and {len(written) - reports} plots.")
  return 0


def run() -> None:
  """The entry point of `python -m offalign.leaderboard`."""
  app.run(main)
