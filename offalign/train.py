"""python -m offalign.train: trains a policy on a log of feedback."""

import sys
from collections.abc import Sequence

from absl import app, flags, logging

from offalign import flags as flags_lib
from offalign.config import Config
from offalign.errors import UserError
from offalign.learner import NonFinite
from offalign.run import Run, describe


def main(argv: Sequence[str]) -> int:
  """Trains; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  try:
    if len(argv) > 1:
      raise UserError(f"what is {argv[1]!r}? Flags begin with --cfg.")
    run = Run(flags_lib.read(Config))
    held = run.train()
  except UserError as error:
    print(f"offalign.train: {error}", file=sys.stderr)
    return 2
  except NonFinite as error:
    print(
      f"offalign.train: {error}. Checkpoints and metrics up to there are kept.",
      file=sys.stderr,
    )
    return 1
  print(f"done: {describe(held)}; run folder {run.folder}")
  return 0


def run() -> None:
  """The entry point of `offalign-train`."""
  flags_lib.define(Config)
  flags_lib.make_key("cfg", sys.argv[0], flags.FLAGS)
  app.run(main)


if __name__ == "__main__":
  run()
