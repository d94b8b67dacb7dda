"""Where metrics go: a JSONL file, TensorBoard, and the terminal."""

import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np
import tqdm

from offalign.distributed import hosts
from offalign.errors import spoken
from offalign.files import Unwritten, write_atomically, writing
from offalign.policy.folder import METRICS, read_metrics
from offalign.training.board import Board
from offalign.training.health import of_pairs


class Logs:
  """Writes the metrics of a run under TRL's names.

  `METRICS` has one object a line with "step" and the metrics;
  TensorBoard event files lie beside it under `tensorboard/`.
  """

  def __init__(self, folder: pathlib.Path, start: int, steps: int):
    """Opens the logs of a run that starts, or goes on, after `start`.

    Lines of a later step, left by a run that was cut off after its last
    checkpoint, are taken out: they will be written again.

    Raises:
      Unwritten: where a file cannot be written; so do `write` and `close`.
    """
    self._path = folder / METRICS
    _drop_after(self._path, start)
    with writing(self._path):
      self._file = self._path.open("a", encoding="utf-8")
    self._board = Board(folder / "tensorboard", purge_step=start + 1)
    self._bar = tqdm.tqdm(
      total=steps,
      initial=start,
      unit="step",
      dynamic_ncols=True,
      disable=not (hosts.speaks() and _is_wide(sys.stderr)),
    )
    # (seconds, steps, tokens) at the last step, and where rates count from.
    self._now = self._since = (time.monotonic(), 0, 0)
    self._steps = steps

  def count(self, tokens: int) -> None:
    """Counts one step and the tokens that it used."""
    _, steps, before = self._now
    if steps == 1:
      self._since = self._now
    self._now = (time.monotonic(), steps + 1, before + tokens)
    self._bar.update()

  @property
  def rate(self) -> float:
    """Tokens a second since the first step, which compiles.

    Evaluations and checkpoints count as time.
    """
    return (self._now[2] - self._since[2]) / self._seconds

  @property
  def _seconds(self) -> float:
    return max(self._now[0] - self._since[0], 1e-9)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Writes one line of metrics."""
    line = json.dumps({"step": step, **metrics})
    with writing(self._path):
      self._file.write(line + "\n")
      self._file.flush()
    self._board.write(step, metrics)

  def show(self, step: int, metrics: dict[str, float]) -> None:
    """Shows the state of the run: on the bar, or in a line of its own."""
    loss, rate = metrics["loss"], self.rate
    if not self._bar.disable:
      self._bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} tok/s")
      return
    each = self._seconds / max(self._now[1] - self._since[1], 1)
    left = tqdm.tqdm.format_interval(each * (self._steps - step))
    self.say(
      f"step {step}/{self._steps}  loss {loss:.4f}  {rate:,.0f} tok/s  "
      f"{left} left"
    )

  def say(self, text: str) -> None:
    """Prints a line without breaking the bar."""
    if hosts.speaks():
      tqdm.tqdm.write(spoken(text), file=sys.stdout)
      sys.stdout.flush()

  def __enter__(self) -> "Logs":
    return self

  def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
    try:
      self.close()
    except Unwritten:
      if kind is None:  # else that one says why
        raise

  def close(self) -> None:
    """Flushes and closes the files."""
    self._bar.close()
    try:
      self._board.close()
    finally:
      with writing(self._path):
        self._file.close()


class NoLogs(Logs):
  """Logs that write nothing: of all processes but the first."""

  rate = 0.0

  def __init__(self) -> None:
    pass

  def count(self, tokens: int) -> None:
    """Does nothing."""

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Does nothing."""

  def show(self, step: int, metrics: dict[str, float]) -> None:
    """Does nothing."""

  def say(self, text: str) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


def _is_wide(stream: Any) -> bool:
  """Whether a stream is a terminal with a width; in containers it may be 0."""
  try:
    return os.get_terminal_size(stream.fileno()).columns > 0
  except (OSError, ValueError):
    return False


def _drop_after(path: pathlib.Path, step: int) -> None:
  """Keeps the lines up to `step` > 0; replaces the file at once."""
  if not path.exists():
    return
  lines = read_metrics(path.parent) if step else []
  kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
  write_atomically(path, "".join(kept))


def mean_of(lines: list[dict[str, float]]) -> dict[str, float]:
  """Means of metrics over the steps that have them."""
  names = dict.fromkeys(name for line in lines for name in line)
  return {
    name: float(np.mean([line[name] for line in lines if name in line]))
    for name in names
  }


def describe(held: dict[str, float], pairs: int | None = None) -> str:
  """The held-out metrics in one line.

  Args:
    held: the metrics.
    pairs: how many pairs the accuracy is of, to be said too.
  """
  accuracy = "eval_rewards/accuracies"
  parts = [
    f"{label} {held[name]:.4f}"
    + (of_pairs(held[name], pairs) if name == accuracy else "")
    for name, label in (
      ("eval_loss", "held-out loss"),
      (accuracy, "held-out reward accuracy"),
      ("eval_rewards/margins", "reward margin"),
      ("eval_win_rate/sft", "win rate against the start"),
      ("eval_score", "held-out score"),
      ("eval_judge/score", "by the judge beside"),
      ("eval_win_rate/unfinished", "completions unfinished"),
    )
    if name in held
  ]
  return ", ".join(parts) or "nothing held out"
