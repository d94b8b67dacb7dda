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
from offalign.distributed import hosts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, speaking, spoken
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
  status = _train(config)
  hosts.leave(status)
  return status


def _train(config: Config) -> int:
  """Trains; returns the exit status, whatever happens on other hosts."""
  try:
    with Stop() as stop:
      run = Run(config)
      run.train(stop)
  except Stopped as stopped:
    hosts.say(str(stopped))
    return 0
  except UserError as error:
    _complain(error)
    return 2
  except NonFinite as error:
    _complain(f"{error}. Checkpoints and metrics up to there are kept.")
    return 1
  except KeyboardInterrupt:
    _complain(
      "interrupted. The same command goes on from the newest checkpoint."
    )
    return 130
  except Exception as error:
    if config.hosts is None:
      raise
    if isinstance(error, JaxRuntimeError):
      # Perhaps the first sign that another process has gone. Then jax will
      # say which, and end this one.
      time.sleep(config.hosts.timeout + 5)
    traceback.print_exc()
    return 1
  hosts.say(f"done: {describe(run.held_out)}; run folder {run.folder}")
  return 0


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
