"""The base of TIES: the weights from which each run's changes are counted."""

import pathlib

import numpy as np

from offalign.data import Tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError, concerning, option
from offalign.policy import pretrained, start
from offalign.policy.merging.sources import Name, Source, alike, flat

_HEAD = ("value", "head")


class Base:
  """Weights to count changes from, by the names of the runs' tensors.

  Of a reward model the trunk is counted from the policy's weights, and the
  head from 0, as a run begins; where the base is a reward model itself, from
  its own.

  Attributes:
    said: what it is, for the record.
  """

  def __init__(self, named: str | pathlib.Path | None, sources: list[Source]):
    """Opens the base.

    Args:
      named: a run folder or a model folder; None = what all runs started
        from.
      sources: the runs.

    Raises:
      UserError: where it cannot be opened or is of another network.
    """
    self._source: Source | None = None
    self._weights: dict[Name, np.ndarray] = {}
    if named is None:
      self.said, self._weights = _common(sources)
    elif pretrained.is_one(named):
      with concerning(option("base", named)):
        self.said, self._weights = str(named), _pretrained(named, sources[0])
    else:
      with concerning(option("base", named)):
        self._source = Source(named, "newest")
        _check_run(self._source, sources)
      self.said = self._source.where
    names = sources[0].names()
    for name, shape in names.items():
      if name[:2] == _HEAD and not self._holds(name):
        continue
      if not self._holds(name) or self._shape(name) != shape:
        raise UserError(
          f"{option('base')} is {self.said}, whose weights are not those of "
          f"{sources[0].folder}: {'/'.join(name)} is {shape} there"
        )

  def read(self, name: Name, shape: tuple[int, ...]) -> np.ndarray:
    """The base's tensor of a name, float32."""
    if not self._holds(name):
      return np.zeros(shape, np.float32)
    if self._source is not None:
      return self._source.read(self._own(name))
    return self._weights[_inner(name)]

  def _own(self, name: Name) -> Name:
    """The name in the base run: its policy's, where it has no rewards."""
    assert self._source is not None
    if name in self._source.names():
      return name
    return ("policy", *_inner(name))

  def _holds(self, name: Name) -> bool:
    if name[:2] == _HEAD:  # a policy has none, but for one of its own name
      return self._source is not None and name in self._source.names()
    if self._source is not None:
      return self._own(name) in self._source.names()
    return _inner(name) in self._weights

  def _shape(self, name: Name) -> tuple[int, ...]:
    if self._source is not None:
      return self._source.names()[self._own(name)]
    return tuple(self._weights[_inner(name)].shape)


def _inner(name: Name) -> Name:
  """The name inside a network: without "policy", or "value" and "trunk"."""
  return name[2:] if name[:2] == ("value", "trunk") else name[1:]


def _common(sources: list[Source]) -> tuple[str, dict[Name, np.ndarray]]:
  starts = dict.fromkeys(str(source.about["start"]) for source in sources)
  if len(starts) > 1:
    raise UserError(
      f"ties needs one {option('base')} for all runs, and these began with "
      f"different weights ({'; '.join(starts)}): name the base, a run or a "
      "model folder"
    )
  (said,) = starts
  if sources[0].frozen is not None:
    return said, sources[0].frozen
  first = sources[0]
  try:
    found = start.frozen(first.folder, first.about, sharding.one_device())
  except UserError as error:
    raise UserError(
      f"ties counts changes from what the runs began with, {said}, which "
      f"cannot be opened ({error.marked}): name another {option('base')}"
    ) from None
  return said, flat(found)


def _pretrained(
  named: str | pathlib.Path, first: Source
) -> dict[Name, np.ndarray]:
  about = pretrained.about(named, "newest")
  tokenizer: Tokenizer = pretrained.tokenizer(about)
  if tokenizer.vocab_size > int(first.about["vocab_size"]):
    raise UserError(f"it has other tokens than {first.folder}")
  _, params = pretrained.load(about)
  return flat(params)


def _check_run(base: Source, sources: list[Source]) -> None:
  """Refuses a base of another network; LoRA or not is all one here."""
  first = sources[0]
  same = start.network(base.folder, base.about) == start.network(
    first.folder, first.about
  )
  if not same or base.about["tokenizer"] != first.about["tokenizer"]:
    raise UserError(
      f"it is of another network or tokenizer than {first.folder}"
    )
  if base.has_rewards and first.has_rewards:
    alike([first, base]) if base.has_adapters == first.has_adapters else None
