"""The files of a run folder: run.json, the tokenizer, metrics.jsonl."""

import json
import pathlib
from typing import Any

from offalign.errors import UserError

ABOUT, TOKENIZER, METRICS = "run.json", "tokenizer", "metrics.jsonl"
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
