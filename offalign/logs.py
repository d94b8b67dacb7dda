"""Where metrics go: a JSONL file, TensorBoard, and the terminal."""

import json
import os
import pathlib
import sys
import time
from typing import Any

import tensorboardX
import tqdm


class Logs:
  """Writes the metrics of a run under TRL's names.

  `metrics.jsonl` has one object a line with "step" and the metrics;
  TensorBoard event files lie beside it under `tensorboard/`.
  """

  def __init__(self, folder: pathlib.Path, start: int, steps: int):
    """Opens the logs of a run that starts, or goes on, after `start`.

    Lines of a later step, left by a run that was cut off after its last
    checkpoint, are taken out: they will be written again.
    """
    self._path = folder / "metrics.jsonl"
    _drop_after(self._path, start)
    self._file = self._path.open("a", encoding="utf-8")
    self._board = tensorboardX.SummaryWriter(
      str(folder / "tensorboard"), purge_step=start + 1
    )
    self._bar = tqdm.tqdm(
      total=steps, initial=start, unit="step", dynamic_ncols=True, disable=None
    )
    self._began = time.monotonic()
    self._tokens = 0
    self._start = start
    self._steps = steps

  def count(self, tokens: int) -> None:
    """Counts one step and the tokens that it used."""
    self._tokens += tokens
    self._bar.update()

  @property
  def rate(self) -> float:
    """Tokens a second since the start."""
    return self._tokens / max(time.monotonic() - self._began, 1e-9)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Writes one line of metrics."""
    line = json.dumps({"step": step, **metrics})
    self._file.write(line + "\n")
    self._file.flush()
    for name, value in metrics.items():
      self._board.add_scalar(name, value, step)

  def show(self, step: int, metrics: dict[str, float]) -> None:
    """Shows the state of the run: on the bar, or as a line without one."""
    loss, rate = metrics["loss"], self.rate
    if not self._bar.disable:
      self._bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} tok/s")
      return
    done = max(step - self._start, 1)
    left = (time.monotonic() - self._began) / done * (self._steps - step)
    self.say(
      f"step {step}/{self._steps}  loss {loss:.4f}  {rate:,.0f} tok/s  "
      f"{left:.0f} s left"
    )

  def say(self, text: str) -> None:
    """Prints a line without breaking the bar."""
    tqdm.tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()

  def close(self) -> None:
    """Flushes and closes the files."""
    self._bar.close()
    self._board.close()
    self._file.close()


def _drop_after(path: pathlib.Path, step: int) -> None:
  """Keeps the whole lines up to `step`; replaces the file at once."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      if json.loads(line)["step"] <= step:
        kept.append(line + "\n")
    except (json.JSONDecodeError, KeyError):
      continue  # the line that was being written when the run was cut off
  write_atomically(path, "".join(kept))


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a file so that it is there whole or not at all."""
  part = path.with_name(path.name + ".part")
  with part.open("w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  part.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """`write_atomically` for JSON, indented."""
  write_atomically(path, json.dumps(value, indent=1) + "\n")
