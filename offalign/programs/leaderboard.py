"""python -m offalign.leaderboard DIR [--sort=METRIC]: ranks results."""

import sys
from collections.abc import Sequence

from absl import flags

from offalign.errors import UserError, speaking, spoken
from offalign.leaderboard import load, render_text, write
from offalign.leaderboard.report.files import REPORTS
from offalign.programs import flags as flags_lib


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Aggregates the rows of one folder; returns the exit status."""
  try:
    if len(argv) != 2:
      raise UserError(
        "give one folder of rows: python -m offalign.leaderboard DIR"
      )
    board = load(argv[1], sort=flags.FLAGS.sort)
    written = write(board, argv[1])
  except UserError as error:
    print(spoken(error), file=sys.stderr)
    return 2
  flags_lib.say(render_text(board))
  reports = len(REPORTS)
  named = ", ".join(written[:reports])
  flags_lib.say(f"Wrote {named} and {len(written) - reports} plots.")
  return 0


def _flags() -> None:
  flags.DEFINE_string(
    "sort",
    None,
    "Metric to rank by: metric, metric:min or metric:max. The default is "
    "regret in the theory track and the win rate in others.",
  )


def run() -> None:
  """Starts the program."""
  flags_lib.start("leaderboard", main, __doc__, _flags)
