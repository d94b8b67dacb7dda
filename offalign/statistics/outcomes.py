"""Outcomes of prompts as files keep them, and digests that name prompts."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

LETTERS = {"w": 1.0, "t": 0.5, "l": 0.0, "-": math.nan}
"""Won, tied, lost, and no verdict."""
MOST = 20_000
"""Outcomes of a metric that a row may hold."""
_DIGITS = 4


def encode(values: Iterable[float]) -> str | list[float]:
  """Outcomes in little room: a letter each, or else rounded numbers.

  >>> encode([1, 0.5, 0, float("nan")]), encode([0.25, 1])
  ('wtl-', [0.25, 1.0])
  """
  numbers = [float(x) for x in values]
  letters = {number: letter for letter, number in LETTERS.items()}
  if all(x != x or x in letters for x in numbers):
    return "".join("-" if x != x else letters[x] for x in numbers)
  return [round(x, _DIGITS) for x in numbers]


def decode(stored: str | Sequence[float]) -> np.ndarray:
  """The outcomes that `encode` wrote: float64 [N], NaN for no verdict.

  >>> decode("wtl").tolist()
  [1.0, 0.5, 0.0]

  Raises:
    ValueError: for another letter.
  """
  if isinstance(stored, str):
    if unknown := set(stored) - set(LETTERS):
      raise ValueError(f"{min(unknown)!r} is none of {', '.join(LETTERS)}")
    stored = [LETTERS[letter] for letter in stored]
  return np.asarray(stored, np.float64)


def prompt_id(prompt: Any) -> str:
  """A digest of a prompt, text or turns; it does not give the text away."""
  written = json.dumps(prompt, default=repr)
  return hashlib.sha256(written.encode()).hexdigest()[:12]


def prompt_set(prompts: Iterable[Any]) -> str:
  """A digest of prompts in their order: outcomes of equal ones are paired."""
  written = "\n".join(map(prompt_id, prompts))
  return hashlib.sha256(written.encode()).hexdigest()[:16]
