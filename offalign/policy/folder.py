"""The files of a run folder: run.json, metrics.jsonl, cost.json, ..."""

import json
import pathlib
from typing import Any

from offalign.errors import UserError

ABOUT, TOKENIZER, METRICS = "run.json", "tokenizer", "metrics.jsonl"
COST = "cost.json"
PREFIX = "eval_"
"""What the names of held-out metrics begin with, as in TRL."""
_RECORDED = ("config", "model", "vocab_size", "tokenizer", "start", "data")


def read_about(folder: pathlib.Path) -> dict[str, Any] | None:
  """Reads the run.json of a folder; None if there is none."""
  path = folder / ABOUT
  if not path.exists():
    return None
  try:
    about = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise UserError(f"{path} is not JSON ({error}); is it a run's?") from None
  about = about if isinstance(about, dict) else {}
  missing = [key for key in _RECORDED if key not in about]
  if missing:
    raise UserError(f"{path} has no {missing[0]!r}; is it a run's?")
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
  """Reads the lines of a run's metrics, less one that was cut off."""
  lines: list[dict[str, Any]] = []
  if not (folder / METRICS).exists():
    return lines
  for line in (folder / METRICS).read_text(encoding="utf-8").splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines


def read_cost(folder: pathlib.Path) -> dict[str, Any] | None:
  """The cost.json of a run folder, see `offalign.training.cost`; or None.

  A run that was begun by an earlier version, or stopped before its first
  checkpoint, has none.

  Raises:
    UserError: where the file is no JSON object.
  """
  path = folder / COST
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise UserError(f"{path} is not JSON ({error}); delete it") from None
  if not isinstance(found, dict):
    raise UserError(f"{path} is no JSON object; delete it")
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
