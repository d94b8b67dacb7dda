"""Rows with everything that a loss wants to know of the reference."""

import dataclasses
from typing import Any

import numpy as np

from offalign.data import Sampler, TokenRows, batch, eval_rows
from offalign.data.batches.packing.run import Cut, Packing
from offalign.distributed import hosts
from offalign.losses import Loss
from offalign.reference.other_sequences import Mismatched, with_prefixes
from offalign.reference.store import Scorer
from offalign.types import Batch


@dataclasses.dataclass(frozen=True)
class Referenced:
  """The rows of a run, and their batches.

  Attributes:
    rows: "train", and "judged" and "held_out" where there are any.
    mismatched: prompts with the completions of other rows, of "train" and
      "held_out", where the loss declares a KL term.
    packings: of "train" and "held_out", where batches are packed.
  """

  rows: dict[str, TokenRows]
  mismatched: dict[str, Mismatched] = dataclasses.field(default_factory=dict)
  packings: dict[str, Packing] = dataclasses.field(default_factory=dict)

  @classmethod
  def score(
    cls,
    train: TokenRows,
    held_out: dict[str, TokenRows],
    sampler: Sampler,
    steps: range,
    scorer: Scorer,
  ) -> "Referenced":
    """Computes what is not stored yet.

    Args:
      train: the training rows.
      held_out: the others.
      sampler: draws the training rows.
      steps: the steps to come, from 0; rows that they do not draw get NaN.
      scorer: scores sequences under the reference.

    Raises:
      Stopped: see `reference.attach`.
    """
    needs = scorer.learner.loss.needs
    # In this order on all hosts, and each time: sequences that batches share
    # get the same bits. The judged rows first, whole; see `distinct_logps`.
    rows = {**held_out, "train": train}
    wanted = {name: np.arange(len(found)) for name, found in held_out.items()}
    wanted["train"] = _drawn(sampler, steps)
    for name in rows:
      if "ref_logps" in needs or name == "judged":
        what = f"{name.replace('_', ' ')} rows"
        rows[name] = scorer.attach(rows[name], what, wanted[name])
    mismatched = {}
    for name in rows:
      if "ref_prefix_logps" in needs and name != "judged":
        rows[name] = with_prefixes(rows[name], wanted[name], scorer.attach)
      if "kl" in needs and name != "judged":
        batches: Any = eval_rows(rows[name], scorer.batch_size)
        if name == "train":
          drawn = map(sampler.indices, steps)
          batches = ((i, train.weight[i]) for i in drawn)
        mismatched[name] = Mismatched(rows[name], batches, scorer.attach)
    return cls(rows, mismatched)

  def batch(
    self, name: str, picked: np.ndarray, weight: np.ndarray, mine: np.ndarray
  ) -> Batch:
    """A batch, or this process's part of it.

    Args:
      name: of the rows.
      picked: int [B], which of them.
      weight: [B], theirs.
      mine: int, which of the B are this process's.
    """
    host = batch(self.rows[name], picked[mine])
    host = dataclasses.replace(host, weight=weight[mine])
    if name in self.mismatched:
      host = self.mismatched[name].onto(host, picked, weight, mine)
    if name in self.packings:
      host = self.packings[name].onto(host, picked, weight, mine)
    return host

  def packed(
    self,
    loss: Loss,
    sampler: Sampler,
    steps: int,
    batch_size: int,
    cut: Cut,
  ) -> "Referenced":
    """The same, in packed batches; says of what shape.

    Args:
      loss: whose needs count.
      sampler: draws the training rows.
      steps: of the whole run, so that the shape is the same whenever a run
        goes on.
      batch_size: of held-out rows.
      cut: how batches are cut.
    """
    packings = {}
    for name in self.rows:
      if name == "judged":
        continue
      weight = self.rows[name].weight
      drawn = map(sampler.indices, range(steps))
      batches: Any = ((picked, weight[picked]) for picked in drawn)
      if name != "train":
        batches = eval_rows(self.rows[name], batch_size)
      packings[name] = Packing(
        self.rows[name], batches, cut, mismatched="kl" in loss.needs
      )
      hosts.say(f"packing, {name.replace('_', ' ')}: {packings[name]}")
    return dataclasses.replace(self, packings=packings)


def _drawn(sampler: Sampler, steps: range) -> np.ndarray:
  """The rows of some steps."""
  if len(steps) * sampler.batch_size >= 2 * sampler.n:
    return np.arange(sampler.n)  # whole epochs
  drawn = [sampler.indices(step) for step in steps]
  return np.unique(np.concatenate(drawn)) if drawn else np.arange(0)
