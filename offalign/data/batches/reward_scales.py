"""Reward normalisation: mean 0, variance 1 by data set, source or prompt.

tau and beta are in units of the run's normalised rewards. So the scales are
kept in the run folder, and used again when the run is resumed and when other
completions are scored later.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from offalign.data.reading.records import Prompt
from offalign.data.views import feedback
from offalign.errors import UserError
from offalign.files import read_object

By = Literal["dataset", "source", "prompt"]
FILE = "reward_scales.json"  # those of prompts, in the run folder


@dataclasses.dataclass(frozen=True)
class RewardScale:
  """A mean that is subtracted from rewards, and what they are divided by.

  Made from the training rows, stored with a checkpoint, and applied to every
  other reward of the run.

  Attributes:
    mean: in the units of the logged rewards.
    std: the same; above 0, but 0 for a prompt whose rewards are all equal.
  """

  mean: float
  std: float

  def apply(self, rewards: np.ndarray) -> np.ndarray:
    """Logged rewards, of any shape -> normalised ones, float32."""
    scaled = (np.asarray(rewards, np.float64) - self.mean) / self.std
    return scaled.astype(np.float32)


def normalize(
  rewards: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, RewardScale]:
  """Scales rewards to mean 0 and variance 1 over all their entries.

  Args:
    rewards: [N, K] or any other shape; finite.
    weights: [N], what the rows count in mean and variance; default: alike.

  Returns:
    The scaled rewards, float32, and the scale.

  Raises:
    UserError: where all rewards are the same, or so large that their variance
      is no finite number.
  """
  wide = np.asarray(rewards, np.float64)
  if wide.size == 0 or wide.min() == wide.max():
    raise UserError(
      "the rewards cannot be normalised: all of them are "
      f"{wide.flat[0] if wide.size else 'absent'}; there is nothing to learn "
      "from them"
    )
  with np.errstate(over="ignore", invalid="ignore"):
    scale = _moments(wide, weights)
  if not (np.isfinite(scale.mean) and np.isfinite(scale.std) and scale.std > 0):
    raise UserError(
      "the rewards cannot be normalised: their range, "
      f"{wide.min():g} to {wide.max():g}, is out of proportion"
    )
  return scale.apply(wide), scale


def _moments(wide: np.ndarray, weights: np.ndarray | None) -> RewardScale:
  if weights is None:
    return RewardScale(float(wide.mean()), float(wide.std()))
  share = np.broadcast_to(weights[:, None], wide.shape)
  mean = float(np.average(wide, weights=share))
  variance = np.average((wide - mean) ** 2, weights=share)
  return RewardScale(mean, float(np.sqrt(variance)))


def prompt_key(prompt: Prompt) -> str:
  """Key of a prompt's scale: 16 hex digits."""
  return hashlib.sha256(repr(prompt).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class RewardScales:
  """Scales of a run's rewards: of the data set, its sources or prompts.

  Attributes:
    by: what has mean 0 and variance 1: the rows of the data set, those of a
      source, or the completions of a prompt.
    known: "", the name of a source, or the `prompt_key` of a prompt -> scale.
  """

  by: By
  known: dict[str, RewardScale]

  @property
  def flat(self) -> int:
    """Keys with no two different rewards, whose rewards all become 0."""
    return sum(scale.std == 0 for scale in self.known.values())

  def scale(self, key: str = "") -> RewardScale:
    """The scale of a source or a prompt; of the data set by default.

    Raises:
      UserError: where none is known.
    """
    if key not in self.known:
      raise UserError(
        f"there is no reward scale of {self.by} {key!r}; rewards of a new "
        f"{self.by} take a scale of their own"
      )
    return self.known[key]

  def apply(self, rewards: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Logged rewards [N, K] and N keys -> normalised ones, float32."""
    wide = np.asarray(rewards, np.float64)
    means = np.array([self.scale(key).mean for key in keys])[:, None]
    # Rewards of a flat key are all its mean.
    stds = np.array([self.scale(key).std or 1.0 for key in keys])[:, None]
    return ((wide - means) / stds).astype(np.float32)

  def with_new(self, other: "RewardScales") -> "RewardScales":
    """Adds the scales of another for keys that have none here."""
    return dataclasses.replace(self, known={**other.known, **self.known})

  def summary(self) -> dict[str, Any]:
    """Summary for run.json, from which `read` begins."""
    if self.by == "dataset":
      return dataclasses.asdict(self.known[""])
    if self.by == "source":
      return {"by": "source", "known": _plain(self.known)}
    text = json.dumps(_plain(self.known), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"by": "prompt", "file": FILE, "digest": digest}

  def file(self) -> str | None:
    """Contents of `FILE`; None where run.json has it all."""
    return json.dumps(_plain(self.known)) if self.by == "prompt" else None


def _plain(known: dict[str, RewardScale]) -> dict[str, list[float]]:
  return {key: [scale.mean, scale.std] for key, scale in known.items()}


def read(folder: str | Path) -> RewardScales | None:
  """Reads the scales of a run; None where rewards were not normalised.

  Args:
    folder: the run folder.

  Raises:
    UserError: where it is no run folder, or the scales are damaged.
  """
  path = Path(folder) / "run.json"
  try:
    found = json.loads(path.read_text(encoding="utf-8"))["reward_scale"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise UserError(
      f"{folder} is no run folder: {path} does not say what rewards were "
      "normalised by"
    ) from None
  if found is None:
    return None
  by = found.get("by", "dataset") if isinstance(found, dict) else None
  known = found.get("known") if by == "source" else None
  if by == "dataset":
    known = {"": [found.get("mean"), found.get("std")]}
  if by == "prompt":
    path = path.parent / FILE
    known = read_object(path, "; put it back")
  scales = RewardScales(by or "dataset", _known(known, path))
  if scales.summary() != found:
    raise UserError(f"{path} is not the file that the run wrote; put it back")
  return scales


def _known(found: Any, path: Path) -> dict[str, RewardScale]:
  """Key -> scale, of what a file says: a mean and a deviation each."""
  each = list(found.values()) if isinstance(found, dict) else [None]
  if not all(map(_is_scale, each)):
    raise UserError(
      f"{path} does not say what rewards were normalised by: that is a mean "
      "and a standard deviation, finite numbers; put it back"
    )
  return {key: RewardScale(*scale) for key, scale in found.items()}


def _is_scale(scale: Any) -> bool:
  return (
    isinstance(scale, list)
    and len(scale) == 2
    and all(
      isinstance(x, int | float)
      and not isinstance(x, bool)
      and abs(x) <= sys.float_info.max
      for x in scale
    )
    and scale[1] >= 0
  )


def fit(
  rewards: np.ndarray,
  by: By,
  keys: Sequence[str],
  sources: Sequence[Sequence[str]],
  weights: np.ndarray | None = None,
) -> RewardScales:
  """Fits the scales that give rewards mean 0 and variance 1.

  Args:
    rewards: [N, K], finite.
    by: what is to have that mean and variance. By data set or source, all
      entries of the rows count; by prompt each completion counts once, in
      however many rows.
    keys: of the N rows; "" by data set.
    sources: N x K, what tells completions apart.
    weights: [N], how often the rows are drawn; all alike by default. By data
      set alone.

  Raises:
    UserError: where all rewards are the same, see `normalize`.
  """
  if by == "prompt":
    return _by_prompt(rewards, keys, sources)
  known = {}
  for key in dict.fromkeys(keys):
    mine = np.array([k == key for k in keys])
    try:
      share = None if weights is None or by == "source" else weights[mine]
      known[key] = normalize(rewards[mine], share)[1]
    except UserError as error:
      raise UserError(f"{key}: {error}" if key else str(error)) from None
  return RewardScales(by, known)


def _by_prompt(
  rewards: np.ndarray,
  keys: Sequence[str],
  sources: Sequence[Sequence[str]],
) -> RewardScales:
  values: dict[str, dict[str, float]] = {}
  for key, row, names in zip(keys, rewards, sources, strict=True):
    values.setdefault(key, {}).update(zip(names, map(float, row), strict=True))
  known = {}
  for key, found in values.items():
    each = list(found.values())
    mean = feedback.mean(each)
    spread = feedback.mean([(value - mean) ** 2 for value in each])
    known[key] = RewardScale(mean, float(np.sqrt(spread)))
  return RewardScales("prompt", known)
