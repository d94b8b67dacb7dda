"""python -m offalign.train: trains a policy on a log of feedback.

For example:

  python -m offalign.train --cfg.data.path=log.parquet --cfg.loss=kto \\
    --cfg.model='decoder(width=128,layers=4)' --cfg.out=runs/kto

--cfg=presets/NAME starts from a preset; the other flags replace its own.
"""

import sys
import time
import traceback
from collections.abc import Sequence

from absl import flags, logging
from jax.errors import JaxRuntimeError

from offalign.config import Config, presets
from offalign.distributed import hosts, interrupts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, marked, speaking, spoken
from offalign.files import FULL, Unwritten, unwritten
from offalign.programs import flags as flags_lib
from offalign.training.logs import describe
from offalign.training.metrics import NonFinite
from offalign.training.run import Run


@speaking(flags_lib.of_config)
def main(argv: Sequence[str]) -> int:
  """Trains; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  try:
    if len(argv) > 1:
      raise UserError(f"what is {argv[1]!r}? Flags begin with --cfg.")
    config = flags_lib.read(Config)
    hosts.join(config.hosts)
  except UserError as error:
    _complain(error)
    return 2
  with Stop() as stop:
    status, together = _train(config, stop)
    hosts.leave(status, together=together)
  return status


def _train(config: Config, stop: Stop) -> tuple[int, bool]:
  """Trains; returns the exit status, and whether all hosts end alike."""
  try:
    run = Run(config)
    run.train(stop)
  except Stopped as stopped:
    if stopped.interrupted:
      _complain(str(stopped))
      return interrupts.STATUS, True
    hosts.say(str(stopped))
    return 0, True
  except Exception as error:
    return _failed(config, error), False
  except KeyboardInterrupt:  # of one that does not listen for it
    _complain(
      "interrupted. The same command goes on from the newest checkpoint."
    )
    return interrupts.STATUS, False
  hosts.say(
    f"done: {describe(run.held_out, run.pairs)}; {run.compiling}; "
    f"run folder {run.folder}"
  )
  if stop.interrupted:
    _complain("interrupted when all was done and kept")
    return interrupts.STATUS, True
  return 0, True


def _failed(config: Config, error: Exception) -> int:
  """Says what ended a run; returns the exit status, or raises it again."""
  if isinstance(error, Unwritten):
    _complain(error)
    return 1
  if isinstance(error, UserError):
    _complain(error)
    return 2
  if isinstance(error, NonFinite):
    _complain(
      f"{marked(error.args[0])}. Checkpoints and metrics up to there are kept."
    )
    return 1
  if isinstance(error, OSError) and error.errno in FULL:
    _complain(unwritten(error.filename or config.out, error))
    return 1
  if config.hosts is None:
    raise error
  if isinstance(error, JaxRuntimeError):
    # Perhaps the first sign that another process has gone. Then jax will say
    # which, and end this one.
    time.sleep(config.hosts.timeout + 5)
  traceback.print_exception(error)
  return 1


def _complain(sentence: str | UserError) -> None:
  who = "" if hosts.is_first() else f"process {hosts.index()}: "
  print(f"offalign.train: {who}{spoken(sentence)}", file=sys.stderr)


def _flags() -> None:
  flags.DEFINE_string(
    "cfg",
    None,
    f"A preset to start from: {', '.join(presets.names())}.",
  )
  flags.register_validator(
    "cfg",
    lambda name: name is None,
    "a preset is named on the command line, not in a --flagfile",
  )
  flags_lib.define(Config)


def run() -> None:
  """Starts the program; a preset's flags are read before the others."""
  flags_lib.start("train", main, __doc__, _flags, presets.expand)
