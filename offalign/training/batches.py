"""The rows of a run, and the batches that are made of them."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from offalign.data import (
  Mixture,
  MixtureSampler,
  Problem,
  Prompt,
  Record,
  RewardScales,
  Sampler,
  Tokenizer,
  TokenRows,
  batch,
  eval_rows,
)
from offalign.data.batches.packing.packing import Cut, Packing
from offalign.distributed import hosts
from offalign.losses import Loss
from offalign.reference.other_sequences import Mismatched, with_prefixes
from offalign.reference.scoring import Scorer
from offalign.types import Batch


@dataclasses.dataclass(frozen=True)
class Batches:
  """Everything a run reads, and its batches.

  `inputs.read` makes it from the data options; `with_reference` and `packed`
  add what is computed before the first step.

  Attributes:
    rows: "train", in the loss's own view. Where there are any: "held_out",
      held-out prompts in the same view; "judged", held-out pairs, better
      completion first, for reward accuracy.
    tokenizer: which made the tokens.
    scales: what the rewards were normalised by, or None.
    mixture: how the training rows of several sources are drawn; None where
      there is one.
    held: the records that are held out.
    trained_prompts: the distinct prompts that are trained on, in order.
    problems: bad rows that were left out.
    sentences: what was done, in order.
    mismatched: prompts with the completions of other rows, of "train" and
      "held_out", where the loss declares a KL term.
    packings: of "train" and "held_out", where batches are packed.
  """

  rows: dict[str, TokenRows]
  tokenizer: Tokenizer
  scales: RewardScales | None
  mixture: Mixture | None
  held: tuple[Record, ...]
  trained_prompts: tuple[Prompt, ...]
  problems: tuple[Problem, ...]
  sentences: tuple[str, ...]
  mismatched: dict[str, Mismatched] = dataclasses.field(default_factory=dict)
  packings: dict[str, Packing] = dataclasses.field(default_factory=dict)

  @property
  def held_prompts(self) -> tuple[Prompt, ...]:
    """The distinct prompts that are held out, in order."""
    return tuple(dict.fromkeys(record.prompt for record in self.held))

  @property
  def train(self) -> TokenRows:
    """The training rows."""
    return self.rows["train"]

  @property
  def held_out(self) -> TokenRows | None:
    """Held-out rows in the view of the training rows, or None."""
    return self.rows.get("held_out")

  @property
  def fingerprint(self) -> str:
    """Fingerprint of the rows and their order: 16 hex digits."""
    content = hashlib.sha256()
    for rows in (self.train, self.held_out):
      if rows is None:
        continue
      keys = rows.keys()
      for key in keys:
        content.update(key.encode())
      logged = rows.behaviour_token_logps
      marked = [x for x in (rows.token_weights, rows.token_rewards) if x]
      for column in (
        *(x.tokens for x in marked),
        rows.completion_index,
        rows.rewards,
        rows.labels,
        rows.behaviour_logps,
        None if logged is None else logged.tokens,
        rows.margins,
      ):
        content.update(b"" if column is None else column.tobytes())
    if self.mixture is not None:
      content.update(self.mixture.of_row.tobytes())
    return content.hexdigest()[:16]

  def sampler(self, batch_size: int, seed: int) -> Sampler:
    """The sampler of the training rows, by weights in a mixture.

    Raises:
      UserError: for a batch size that does not fit the rows.
    """
    n = len(self.train)
    if self.mixture is None:
      return Sampler(n, batch_size, seed)
    return MixtureSampler(n, batch_size, seed, self.mixture)

  def batch(
    self, name: str, picked: np.ndarray, weight: np.ndarray, mine: np.ndarray
  ) -> Batch:
    """Makes a batch, or this process's part of it.

    Args:
      name: of the rows.
      picked: int [B], the rows of the batch.
      weight: [B], the weights of those rows.
      mine: int, which of the B are this process's.
    """
    host = batch(self.rows[name], picked[mine])
    host = dataclasses.replace(host, weight=weight[mine])
    if name in self.mismatched:
      host = self.mismatched[name].onto(host, picked, weight, mine)
    if name in self.packings:
      host = self.packings[name].onto(host, picked, weight, mine)
    return host

  def with_reference(
    self, sampler: Sampler, steps: range, scorer: Scorer
  ) -> "Batches":
    """Adds the log-probs under the reference that the loss needs.

    Computes what is not stored yet; of "train" rows only where there are any.

    Args:
      sampler: draws the training rows.
      steps: the steps to come, from 0; rows that they do not draw get NaN.
      scorer: scores sequences under the reference.

    Raises:
      Stopped: where the run was asked to stop.
    """
    needs = scorer.learner.loss.needs
    # In this order on all hosts, and each time: sequences that batches share
    # get the same bits. The judged rows first, whole; see `distinct_logps`.
    order = ("judged", "held_out", "train")
    rows = {name: self.rows[name] for name in order if name in self.rows}
    wanted = {name: np.arange(len(found)) for name, found in rows.items()}
    if "train" in rows:
      wanted["train"] = _drawn(sampler, steps)
    for name in rows:
      if "ref_logps" in needs or name == "judged":
        what = f"{name.replace('_', ' ')} rows"
        rows[name] = scorer.attach(rows[name], what, wanted[name])
    mismatched = {}
    for name in rows:
      if "ref_token_logps" in needs and name != "judged":
        what = f"{name.replace('_', ' ')} rows"
        rows[name] = scorer.attach_tokens(rows[name], what, wanted[name])
      if "ref_prefix_logps" in needs and name != "judged":
        rows[name] = with_prefixes(rows[name], wanted[name], scorer.attach)
      if "kl" in needs and name != "judged":
        batches: Any = eval_rows(rows[name], scorer.batch_size)
        if name == "train":
          drawn = map(sampler.indices, steps)
          batches = ((i, self.train.weight[i]) for i in drawn)
        mismatched[name] = Mismatched(rows[name], batches, scorer.attach)
    return dataclasses.replace(self, rows=rows, mismatched=mismatched)

  def packed(
    self,
    loss: Loss,
    sampler: Sampler,
    steps: int,
    batch_size: int,
    cut: Cut,
  ) -> "Batches":
    """Packs the batches where that is cheaper, and prints the shapes.

    Args:
      loss: whose needs count.
      sampler: draws the training rows.
      steps: of the whole run, so that the shape is the same whenever a run
        goes on.
      batch_size: of held-out rows.
      cut: how batches are cut over devices and microbatches.
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
  """The rows that a range of steps draws, sorted."""
  if len(steps) * sampler.batch_size >= 2 * sampler.n:
    return np.arange(sampler.n)  # whole epochs
  drawn = [sampler.indices(step) for step in steps]
  return np.unique(np.concatenate(drawn)) if drawn else np.arange(0)
