"""Train in rounds, and be killed at a given instant at a border.

A program of its own, since it forks: no device is used before a fork.

  python tests/helpers/dying.py OUT FLAG...

OUT/whole is trained undisturbed. OUT/NAME is killed at the instant NAME, as
often as the instant comes in another round, and trained to its end.
"""

import os
import pathlib
import signal
import sys

import killing

from offalign.policy.checkpoint import Checkpoints
from offalign.training.rounds import kept, making
from offalign.training.rounds.drawing import Drawer
from offalign.training.rounds.growing import Growing


def _kill(*_, **__):
  os.kill(os.getpid(), signal.SIGKILL)


def _nth(cls, name, number, *, before):
  """Patches a method to kill the process at its n-th call."""
  made, calls = getattr(cls, name), []

  def patched(*args, **kwargs):
    calls.append(name)
    if before and len(calls) == number:
      _kill()
    out = made(*args, **kwargs)
    if len(calls) == number:
      _kill()
    return out

  setattr(cls, name, patched)


INSTANTS = {
  # In the middle of the samples of a round.
  "drawing": lambda n: _nth(Drawer, "draw", n, before=True),
  # All is drawn and scored, nothing is written.
  "scored": lambda n: _nth(making.Maker, "make", n, before=False),
  # The samples are on the disk, and the round is not in its place.
  "written": lambda n: _nth(kept, "write_about", n, before=False),
  # The round is in its place, and no step has been made.
  "placed": lambda n: _nth(Growing, "_made", n, before=False),
  # A checkpoint is being written, inside a round or at a border.
  "saving": lambda n: _nth(Checkpoints, "save", n, before=False),
}


def main(out, flags):
  """Trains whole; then dies at each instant of several rounds."""
  said = out / "said"
  pid = killing.launch([*flags, f"--cfg.out={out / 'whole'}"], said)
  assert killing.wait(pid, lambda: False) == 0, said.read_text()
  launch = killing.train.run
  for name, patch in INSTANTS.items():
    folder = out / name
    for number in (1, 2, 3):

      def dying(number=number, patch=patch):
        patch(number)
        launch()

      killing.train.run = dying
      pid = killing.launch([*flags, f"--cfg.out={folder}"], said)
      killing.train.run = launch
      status = killing.wait(pid, lambda: False)
      assert status == -signal.SIGKILL, (name, number, said.read_text())
    pid = killing.launch([*flags, f"--cfg.out={folder}"], said)
    assert killing.wait(pid, lambda: False) == 0, said.read_text()


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])
