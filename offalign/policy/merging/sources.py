"""Sources of a merge: the checkpoints of runs, read a tensor at a time."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.policy import (
  adapters,
  damage,
  noise,
  pretrained,
  start,
  trained_rewards,
)
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import read_run
from offalign.types import Params

Name = tuple[str, ...]
"""Where a tensor is: ("policy", "head", "kernel")."""

_ADAPTERS = ("a", "b")


class Source:
  """One checkpoint of a run; adapters of LoRA are read as W + scale A B.

  Attributes:
    folder: the run folder.
    about: its run.json.
    step: of the checkpoint.
    has_rewards: whether the run trained a reward model.
    frozen: the weights under the adapters, name -> tensor; None without LoRA.
    digest: of the tensors that `read` gave since `begin`.
  """

  def __init__(self, folder: str | pathlib.Path, step: str):
    """Opens a checkpoint; reads no weights.

    Args:
      folder: the run folder.
      step: "newest", "best" or a number.

    Raises:
      UserError: where it is no run, or has no such checkpoint.
    """
    noise.silence()
    self.folder = pathlib.Path(folder)
    if pretrained.is_one(folder):
      raise UserError(
        f"{folder} is a model folder and no run: only runs are merged; a model "
        "folder may be the base of ties"
      )
    self.about = read_run(self.folder)
    with Checkpoints(self.folder) as checkpoints:
      if checkpoints.latest is None:
        raise UserError(f"{folder} has no complete checkpoint yet")
    keep_best = self.about["config"].get("keep_best")
    self.step = choose(self.folder, step, keep_best)
    self.has_rewards = trained_rewards.is_reward_model(self.folder, self.about)
    self.frozen: dict[Name, np.ndarray] | None = None
    self._lora = adapters.config_of(self.about)
    self._stored = self._shapes("policy")
    if self.has_rewards:
      self._stored |= self._shapes("value")
    self.begin()

  @property
  def where(self) -> str:
    """What a sentence calls it."""
    return f"{self.folder} at step {self.step}"

  @property
  def has_adapters(self) -> bool:
    """Whether LoRA trained it."""
    return self._lora is not None

  def begin(self) -> None:
    """Begins the digest anew."""
    self._hash = hashlib.sha256()

  @property
  def digest(self) -> str:
    """See `Source`."""
    return self._hash.hexdigest()[:16]

  def names(self) -> dict[Name, tuple[int, ...]]:
    """The tensors of the whole weights -> their shapes.

    Raises:
      UserError: where the weights under the adapters are not there any more.
    """
    if self._lora is None:
      return self._stored
    if self.frozen is None:
      mesh = sharding.one_device()
      self.frozen = flat(start.frozen(self.folder, self.about, mesh))
    found: dict[Name, tuple[int, ...]] = {}
    trunks = {name[:1] for name in self._stored if name[0] == "policy"}
    trunks |= {name[:2] for name in self._stored if name[1] == "trunk"}
    for trunk in sorted(trunks):
      found |= {trunk + name: x.shape for name, x in self.frozen.items()}
    return found | {
      name: shape
      for name, shape in self._stored.items()
      if name[-1] not in _ADAPTERS
    }

  def read(self, name: Name) -> np.ndarray:
    """Reads one tensor, float32.

    Raises:
      UserError: where it cannot be read, or holds a number that is not finite.
    """
    if name in self._stored:
      found = self._read(name)
    else:
      assert self.frozen is not None
      assert self._lora is not None
      trunk = 1 if name[0] == "policy" else 2
      found = self.frozen[name[trunk:]]
      if (*name[:-1], "a") in self._stored:
        a, b = (self._read((*name[:-1], x)) for x in _ADAPTERS)
        product = np.matmul(a.astype(np.float64), b.astype(np.float64))
        found = (found + self._lora.scale * product).astype(np.float32)
    if not np.isfinite(found).all():
      raise UserError(
        f"{self.where}: its {'/'.join(name)} has numbers that are not finite; "
        "name another checkpoint"
      )
    self._hash.update(found.tobytes())
    return found

  def _shapes(self, item: str) -> dict[Name, tuple[int, ...]]:
    with damage.reading(self.folder / "checkpoints", self.step):
      tree = ocp.StandardCheckpointHandler().metadata(self._path(item)).tree
    shapes = jax.tree.map(lambda x: tuple(x.shape), tree)
    return {
      (item, *name): shape
      for name, shape in traverse_util.flatten_dict(shapes).items()
    }

  def _read(self, name: Name) -> np.ndarray:
    item, *path = name
    shape = jax.ShapeDtypeStruct(self._stored[name], np.float32)
    tree = traverse_util.unflatten_dict({tuple(path): shape})
    restore = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray, dtype=np.float32), tree
    )
    with (
      damage.reading(self.folder / "checkpoints", self.step),
      ocp.PyTreeCheckpointer() as reader,
    ):
      found = reader.restore(
        self._path(item),
        args=ocp.args.PyTreeRestore(
          item=tree, restore_args=restore, partial_restore=True
        ),
      )
    return np.asarray(traverse_util.flatten_dict(found)[tuple(path)])

  def _path(self, item: str) -> epath.Path:
    place = self.folder.absolute() / "checkpoints" / str(self.step) / item
    return epath.Path(place)


def flat(params: Params) -> dict[Name, np.ndarray]:
  """Params by the names of their tensors, on the host."""
  found = traverse_util.flatten_dict(jax.device_get(params))
  return {tuple(map(str, k)): np.asarray(x) for k, x in found.items()}


def alike(sources: list[Source]) -> None:
  """Refuses runs whose weights do not belong together.

  Raises:
    UserError: naming the first two that differ, and in what.
  """
  first = sources[0]
  for other in sources[1:]:
    for what, (of, told) in _TRAITS.items():
      if of(first) != of(other):
        raise UserError(
          f"{first.folder} and {other.folder} cannot be merged, since they "
          f"{what}: {told(first)} and {told(other)}; name runs of the same kind"
        )
  shared = first.has_adapters
  for other in sources[1:] if shared else ():
    first.names()
    other.frozen = first.frozen
  for other in sources[1:]:
    if first.names() != other.names():
      raise UserError(
        f"{first.folder} and {other.folder} cannot be merged, since their "
        "weights have other names or shapes; name runs of the same kind"
      )


def _trains(source: Source) -> str:
  return "a reward model" if source.has_rewards else "a policy"


def _value(source: Source) -> Any:
  if not source.has_rewards:
    return None
  found = trained_rewards.value_of(source.about)
  return f"network={found.network}, per={found.per}"


def _by_lora(source: Source) -> str:
  return "adapters (LoRA)" if source.has_adapters else "all weights"


def _adapted(source: Source) -> str | None:
  return source.about["start"] if source.has_adapters else None


def _network(source: Source) -> str:
  return start.network(source.folder, source.about)


def _model(source: Source) -> str:
  return f"{source.about['model']}, V={source.about['vocab_size']:,}"


_TRAITS: Mapping[str, tuple[Any, Any]] = {
  "trained different things": (_trains, _trains),
  "are of different networks": (_network, _model),
  "have different tokenizers": (
    lambda source: source.about["tokenizer"],
    lambda source: source.about["tokenizer"],
  ),
  "read the reward at different places": (_value, _value),
  "trained different parts": (_by_lora, _by_lora),
  "have adapters of different weights": (_adapted, _adapted),
}
"""In what runs differ -> what is compared, and what a sentence tells."""
