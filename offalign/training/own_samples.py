"""How far the policy is from its reference on what the policy itself writes.

At an evaluation the policy completes a few held-out prompts, and the mean of
log pi - log pi_ref over these completions estimates KL(pi || pi_ref): the
estimator k1 of Schulman (http://joschu.net/blog/kl-approx.html), which TRL's
online trainers log as objective/kl. Log-ratios of logged completions are no
such estimate, since the policy may have left those texts altogether.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import numpy as np

from offalign.config import Config
from offalign.distributed import sharding
from offalign.distributed.signals import Stop
from offalign.errors import UserError, option
from offalign.generation.completing import encode, first_seed
from offalign.generation.completions import Prompt
from offalign.generation.sampling import sample
from offalign.learner import Learner
from offalign.losses import Loss
from offalign.policy import limit
from offalign.policy.folder import PREFIX
from offalign.training.batches import Batches
from offalign.types import Batch, Params

SAMPLES = 16
"""Completions of an evaluation by default: a standard error of a quarter of
the spread between completions, for less work than one batch of training."""

KL = f"{PREFIX}objective/kl"
ERROR = f"{KL}_error"
PER_TOKEN = f"{KL}_per_token"
UNFINISHED = f"{KL}_unfinished"

_KEPT = 64 << 20  # bytes of weights that a run may keep beside its own


def count(
  config: Config,
  loss: Loss,
  prompts: Sequence[Prompt],
  said: list[str],
  *,
  untrained: bool,
) -> int:
  """How many completions an evaluation draws; 0 for none.

  Args:
    config: of the run.
    loss: of the run.
    prompts: the held-out ones.
    said: gets a sentence where several hosts are why there are none.
    untrained: whether the reference has new weights; by default nothing is
      measured against those.

  Raises:
    UserError: where completions are asked for that cannot be drawn or
      compared.
  """
  given = config.eval_samples
  why = None
  if loss.trains_rewards:
    why = f"loss {str(loss)!r} trains a reward model, which completes nothing"
  elif not loss.has_reference:
    why = f"loss {str(loss)!r} has no reference to be compared with"
  elif config.hosts is not None:
    why = f"{option('hosts')} is set, and it is for runs of one process"
  elif not prompts:
    why = "no prompts are held out to complete"
  if given and why:
    raise UserError(
      f"{option('eval_samples', given)} is set, but {why}; leave it out"
    )
  if why:
    several = config.hosts is not None and loss.has_reference
    if several and given is None and not untrained:
      said.append(
        "the KL divergence from the reference is not measured: that is for "
        "runs of one process"
      )
    return 0
  if given is None:
    return 0 if untrained else SAMPLES
  return given


class OwnSamples:
  """Draws completions of a policy and compares their log-probs.

  Attributes:
    count: completions of one evaluation.
    longest: tokens of a completion at most.
    from_start: whether the reference is what the run starts from.
  """

  def __init__(
    self,
    config: Config,
    learner: Learner,
    inputs: Batches,
    drawn: int,
    reference: Callable[[], Params],
    scorer: Learner | None = None,
  ):
    """Draws the prompts, which are the same at each evaluation.

    Args:
      config: of the run.
      learner: samples from its model, and scores.
      inputs: has the held-out prompts and the tokenizer.
      drawn: see `count`; more than the prompts complete some of them again.
      reference: gives the reference's weights, on the mesh.
      scorer: scores under the reference, where that is not what the run
        starts from; default: `learner`.

    Raises:
      UserError: where the prompts leave no room for a completion.
    """
    self.count = drawn
    self._seed, self._learner = config.seed, learner
    self._scorer = scorer or learner
    self.from_start = scorer is None
    self._reference, self._tokenizer = reference, inputs.tokenizer
    held = inputs.held_prompts
    order = np.random.default_rng([config.seed, 3]).permutation(len(held))
    chosen = [held[i] for i in np.sort(order[:drawn])]
    self._prompts, _ = encode(
      inputs.tokenizer,
      list(itertools.islice(itertools.cycle(chosen), drawn)),
      config.data.max_prompt,
    )
    self._width = int(self._prompts.lengths.max())
    most = limit.of_data(
      config.data.max_completion, inputs.train.longest_completion
    )
    self.longest = limit.bounded(
      limit.Limit(most), learner.model, self._width, "data.max_completion"
    ).tokens
    shards = [learner.mesh.shape[axis] for axis in sharding.BATCH_AXES]
    unit = math.prod(shards) * config.microbatches
    self._rows = -(-min(drawn, config.batch_size) // unit) * unit

  def measure(self, step: int, policy: Params, stop: Stop) -> dict[str, float]:
    """Estimates the KL divergence of a policy from the reference.

    The random numbers are those of the run's seed and the step, so the same
    policy has the same figures whenever they are computed.

    Args:
      step: that the policy has reached.
      policy: its weights, in the form that the model takes.
      stop: looked at after each batch.

    Returns:
      `KL`, nats a completion; `ERROR`, its standard error, where there are
      two completions; `PER_TOKEN`; and `UNFINISHED`, the share of completions
      that were cut at the limit, which count as far as they go.

    Raises:
      UserError: where the reference's weights cannot be had any more.
      Stopped: where the run was asked to stop.
    """
    reference = self._reference()
    learner, seed = self._learner, first_seed(f"{self._seed}/kl/{step}")
    ends = list(self._tokenizer.end_ids)
    ratios: list[float] = []
    tokens = unfinished = 0
    for begin in range(0, self.count, self._rows):
      places = np.arange(begin, begin + self._rows)
      rows = np.minimum(places, self.count - 1)
      real = places < self.count
      prompts, mask = self._prompts.padded(
        rows, self._width, self._tokenizer.pad_id
      )
      asked = (prompts, mask, (seed + rows).astype(np.int32))
      put: Any = sharding.put_batch(learner.mesh, cast(Any, asked))
      drawn = jax.device_get(
        sample(
          learner.model,
          policy,
          *put[:2],
          seeds=put[2],
          max_new_tokens=self.longest,
          eos_id=ends,
        )
      )
      batch = Batch(
        prompts=prompts,
        prompt_mask=mask,
        completions=drawn.tokens[:, None],
        completion_mask=drawn.mask[:, None],
        weight=real.astype(np.float32),
      )
      placed = sharding.put_batch(learner.mesh, batch)
      mine, other = (
        np.asarray(jax.device_get(scorer.score(params, placed)), np.float64)
        for scorer, params in (
          (learner, policy),
          (self._scorer, reference),
        )
      )
      ratios += (mine - other)[real, 0].tolist()
      lengths = drawn.mask.sum(axis=1)
      last = drawn.tokens[np.arange(len(rows)), lengths - 1]
      tokens += int(lengths[real].sum())
      unfinished += int((~np.isin(last, ends))[real].sum())
      stop.check()
    found = {KL: float(np.mean(ratios))}
    if len(ratios) > 1:
      found[ERROR] = float(np.std(ratios, ddof=1) / math.sqrt(len(ratios)))
    found[PER_TOKEN] = float(np.sum(ratios) / tokens)
    found[UNFINISHED] = unfinished / len(ratios)
    return found


def is_small(params: Params) -> bool:
  """Whether weights are so few that a run may keep a copy of them."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(params)) <= _KEPT
