"""Train once undisturbed, then kill a run of the same flags again and again.

A program of its own, since it forks: what takes longest, the imports, is done
once; no device is used before a fork.

  python tests/helpers/killing.py OUT SEED KILLS FLAG...
"""

import json
import os
import pathlib
import random
import signal
import sys
import time

from offalign.programs import train
from offalign.reference import store


def launch(flags, said):
  """The pid of a child that trains."""
  pid = os.fork()
  if pid:
    return pid
  file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  os.dup2(file, 1)
  os.dup2(file, 2)
  sys.argv = ["train", *flags]
  status = 1
  try:
    train.run()
  except SystemExit as end:
    status = end.code
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


class Watch:
  """What a run has on disk, counted from when its process began."""

  def __init__(self, out):
    self._out = out
    self._before = self._count()

  def _count(self):
    saves = list((self._out / "checkpoints").glob("*"))
    return {
      "reference": len(list((self._out / "reference").glob("*.npz"))),
      "saving": sum("tmp" in path.name for path in saves),
      "saved": max([int(p.name) for p in saves if p.name.isdigit()] or [0]),
    }

  def grown(self):
    """What there is more of."""
    now = self._count()
    return {name: now[name] - self._before[name] for name in now}


def wait(pid, until):
  """Waits until something is so; returns the exit status, if it ended."""
  while not until():
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.001)
  return None


def instant(folder, watch, draw):
  """When to kill: at any time, in the reference pass, in a save, in a step."""
  begin = time.monotonic()
  seconds, files = draw.uniform(0, 2), draw.randint(1, 3)
  steps = draw.randint(1, 6)
  how = draw.choice(["any", "saving", "saved"])
  if not (folder / "metrics.jsonl").exists():
    how = draw.choice(["any", "reference", "reference"])

  def due():
    if how == "any":
      return time.monotonic() - begin > seconds
    grown = watch.grown()
    if how == "reference":
      return grown["reference"] >= files or grown["saved"] > 0
    return grown[how] >= (1 if how == "saving" else steps)

  return due


def one_life(folder, flags, said, draw, hit):
  """Launches, kills or asks to stop; returns whether the run came to an end."""
  watch = Watch(folder)
  pid = launch([*flags, f"--cfg.out={folder}"], said)
  due, late = instant(folder, watch, draw), draw.uniform(0, 0.02)
  number = draw.choice([signal.SIGKILL] * 4 + [signal.SIGTERM])
  status = wait(pid, due)
  if status is None:
    time.sleep(late)
    os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number == signal.SIGTERM:
      # Before it listens, a process ends as any does.
      assert status in (0, -signal.SIGTERM), said.read_text()
      hit["asked"] += status == 0
      return False
  if status == 0:
    return True
  assert status == -signal.SIGKILL, said.read_text()
  grown = watch.grown()
  hit["killed"] += 1
  hit["saving"] += grown["saving"] > 0
  first_line = (folder / "metrics.jsonl").exists()
  hit["reference"] += grown["reference"] > 0 and not first_line
  return False


def main(out, seed, kills, flags):
  """Trains once, then with kills; prints what was hit, as JSON."""
  store.SECONDS = 0.0  # a file for each batch
  draw, said = random.Random(seed), out / "said"
  pid = launch([*flags, f"--cfg.out={out / 'whole'}"], said)
  assert wait(pid, lambda: False) == 0, said.read_text()
  hit = dict.fromkeys(("killed", "saving", "reference", "asked"), 0)
  runs, ended = 0, True
  while hit["killed"] < kills:
    runs += ended
    ended = one_life(out / f"cut-{runs}", flags, said, draw, hit)
  pid = launch([*flags, f"--cfg.out={out / f'cut-{runs}'}"], said)
  assert wait(pid, lambda: False) == 0, said.read_text()
  print(json.dumps({"runs": runs, **hit}))


if __name__ == "__main__":
  place, number, count, *rest = sys.argv[1:]
  main(pathlib.Path(place), int(number), int(count), rest)
