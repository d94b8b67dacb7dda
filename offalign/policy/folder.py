"""The files of a run folder: run.json, metrics.jsonl, cost.json, ..."""

import json
import pathlib
from typing import Any

from offalign.errors import UserError
from offalign.files import parse_object, read_object
from offalign.policy import recorded

ABOUT, TOKENIZER, METRICS = "run.json", "tokenizer", "metrics.jsonl"
COST = "cost.json"
HEALTH = "health.json"
PREFIX = "eval_"
"""What the names of held-out metrics begin with, as in TRL."""
_CURE = "; put the file back, or remove that line"


def read_about(folder: pathlib.Path) -> dict[str, Any] | None:
  """Reads the run.json of a folder; None if there is none.

  Raises:
    UserError: where it is not what a run writes; names the key.
  """
  path = folder / ABOUT
  if not path.exists():
    return None
  about = read_object(path, "; is it a run's?")
  recorded.check_about(about, str(path))
  return about


def read_run(folder: pathlib.Path) -> dict[str, Any]:
  """The run.json of a run folder.

  Raises:
    UserError: where it is none.
  """
  about = read_about(folder)
  if about is None:
    raise UserError(f"{folder} is not a run folder: it has no {ABOUT}")
  return about


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Reads the lines of a run's metrics, less a last one that was cut off.

  Returns:
    A dict for each line: "step" and the numbers that were logged.

  Raises:
    UserError: naming another line that is not what a run writes.
  """
  path = folder / METRICS
  if not path.exists():
    return []
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error}){_CURE}") from None
  *whole, last = text.split("\n")
  lines = [
    _metrics(line, f"{path}, line {number}")
    for number, line in enumerate(whole, 1)
    if line.strip()
  ]
  try:
    # A run that was killed while it wrote has left a part of a line.
    return [*lines, _metrics(last, "")] if last.strip() else lines
  except UserError:
    return lines


def _metrics(line: str, where: str) -> dict[str, Any]:
  found = parse_object(line, where, _CURE)
  recorded.check_metrics(found, where, _CURE)
  return found


def read_cost(folder: pathlib.Path) -> dict[str, Any] | None:
  """The cost.json of a run folder, see `offalign.training.cost`; or None.

  A run that was begun by an earlier version, or stopped before its first
  checkpoint, has none.

  Raises:
    UserError: where the file is not what a run writes; names the key.
  """
  path = folder / COST
  if not path.exists():
    return None
  found = read_object(path, "; delete it")
  recorded.check_cost(found, str(path), "; delete it")
  return found


def held_out_metrics(
  folder: pathlib.Path, upto: int | None = None
) -> dict[str, float]:
  """The last held-out metrics that a run has logged; {} where none.

  Args:
    folder: the run folder.
    upto: looks at no later step; default: looks at all.
  """
  found: dict[str, float] = {}
  for line in read_metrics(folder):
    held = {k: v for k, v in line.items() if k.startswith(PREFIX)}
    if held and (upto is None or line["step"] <= upto):
      found = held
  return found


def curves(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """What a run has logged: metric -> (step, value), steps rising."""
  found: dict[str, list[tuple[int, float]]] = {}
  for line in read_metrics(folder):
    for name, value in line.items():
      if name != "step":
        found.setdefault(name, []).append((line["step"], value))
  return found


def read_warnings(folder: pathlib.Path, upto: int) -> list[str]:
  """What a run warned of up to a step, in order; [] where it cannot be read.

  Args:
    folder: the run folder.
    upto: the step.
  """
  try:
    text = (folder / HEALTH).read_text(encoding="utf-8")
    found = json.loads(text)["warnings"]
    return [str(x["sentence"]) for x in found if x["step"] <= upto]
  except (OSError, ValueError, KeyError, TypeError):
    return []  # the run writes it again
