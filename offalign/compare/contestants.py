"""The policies that are compared: which folders, and what they are called."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

from offalign.errors import UserError
from offalign.losses import Loss
from offalign.policy.folder import ABOUT, METRICS, held_out_metrics, read_cost
from offalign.policy.log_ratios import nats
from offalign.policy.policy import Policy
from offalign.policy.trained_rewards import refuse_as_policy


@dataclasses.dataclass(frozen=True)
class Contestant:
  """A policy that takes part.

  Attributes:
    name: its folder's name; its whole path where two have one name.
    path: as it was given: a run folder, or a model folder.
    policy: the opened policy; its weights are not read.
  """

  name: str
  path: str
  policy: Policy

  @property
  def is_run(self) -> bool:
    """Whether a run trained it; a model folder's training is not known."""
    return "loss" in self.policy.about

  @property
  def loss(self) -> Loss | None:
    """The loss that trained it; None for a model folder."""
    return self.policy.loss if self.is_run else None

  @property
  def kind(self) -> str:
    """What it is, in a word or two: the loss, or "model folder"."""
    return str(self.policy.about.get("loss", "model folder"))

  @property
  def metrics(self) -> dict[str, float]:
    """The last held-out metrics up to its step; {} where there are none."""
    return held_out_metrics(pathlib.Path(self.path), self.policy.step)

  @property
  def has_cost(self) -> bool:
    """Whether its training recorded what it took."""
    return read_cost(pathlib.Path(self.path)) is not None

  @property
  def nats(self) -> dict[str, float]:
    """Mean log-ratios of logged held-out completions; see `log_ratios.nats`."""
    held = self.metrics
    if self.loss is None or not held:
      return {}
    judged = "eval_rewards/chosen" in held
    return nats(self.loss, held, judged=judged)

  def identity(self) -> str:
    """A digest that changes when the policy is trained anew or further."""
    folder = pathlib.Path(self.path)
    found = [folder.resolve().name, str(self.policy.step)]
    for name in (ABOUT, METRICS):
      if (folder / name).exists():
        found.append((folder / name).read_bytes().hex())
    if not self.is_run and folder.is_dir():
      files = sorted(path for path in folder.iterdir() if path.is_file())
      stats = [(path.name, path.stat()) for path in files]
      found += [f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in stats]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def open_all(
  paths: Sequence[str], baseline: str | None = None, step: str = "newest"
) -> list[Contestant]:
  """Opens the policies, the baseline first.

  Args:
    paths: run folders, model folders or what else `Policy.load` opens.
    baseline: with which the others are compared; one of `paths` or another.
      Default: the first of them.
    step: of the runs' checkpoints: "newest", "best" or a number.

  Raises:
    UserError: for a folder that comes twice, is neither, or has trained a
      reward model.
  """
  given = [str(path) for path in paths]
  seen: dict[pathlib.Path, str] = {}
  for path in given:
    real = pathlib.Path(path).resolve()
    if real in seen:
      raise UserError(
        f"{path} comes twice: a policy is compared with others, not with itself"
      )
    seen[real] = path
  if baseline is not None:
    real = pathlib.Path(baseline).resolve()
    baseline = seen.setdefault(real, str(baseline))
    given = [baseline, *(path for path in given if path != baseline)]
  if len(given) < 2:
    raise UserError(
      "a comparison is of two runs or more: name another, or the one to "
      "compare with as the baseline"
    )
  return [
    Contestant(name, path, _load(path, step))
    for name, path in zip(_names(given), given, strict=True)
  ]


def open_one(path: str, step: str = "newest") -> Contestant:
  """Opens one policy.

  Args:
    path: see `open_all`.
    step: see `open_all`.

  Raises:
    UserError: see `open_all`.
  """
  return Contestant(_names([path])[0], path, _load(path, step))


def _load(path: str, step: str) -> Policy:
  is_run = (pathlib.Path(path) / ABOUT).exists()
  policy = Policy.load(path, step if is_run else "newest")
  refuse_as_policy(policy.folder, policy.about, "be compared")
  return policy


def _names(paths: Sequence[str]) -> list[str]:
  """Short names, or whole paths where the short ones are not distinct."""
  names = [pathlib.Path(path).resolve().name or path for path in paths]
  return [
    path if names.count(name) > 1 else name
    for name, path in zip(names, paths, strict=True)
  ]
