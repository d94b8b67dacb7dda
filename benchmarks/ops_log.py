"""The log of feedback of the `ops` track, and each loss's view of it."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from benchmarks import ops_feedback
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_policy import Base, as_batch, draw, mesh
from benchmarks.worlds.base import Given, World
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.types import Batch, Kind

_SCORED = 256  # rows of a given log scored at a time


@dataclasses.dataclass(frozen=True)
class Feedback:
  """The log of one seed: 2048 prompts with 4 scored completions each.

  Attributes:
    prompts: int32 [n, 7].
    tokens: int32 [n, K, 11].
    mask: bool [n, K, 11].
    ref_logps: float32 [n, K].
    rewards: float32 [n, K], offset included, mean 0 and variance 1.
    seed: of the prompts and samples.
    world: that the prompts are of.
    token_logps: float32 [n, K, 11], `ref_logps` token by token; None where
      another than the SFT policy wrote the completions.
  """

  prompts: np.ndarray
  tokens: np.ndarray
  mask: np.ndarray
  ref_logps: np.ndarray
  rewards: np.ndarray
  seed: int
  world: World
  token_logps: np.ndarray | None = None


def collect(base: Base, seed: int) -> Feedback:
  """The log of one seed: fresh prompts, sampled and scored."""
  setting, world = base.setting, base.setting.world
  given = world.given(seed)
  if given is not None:
    return _of_given(base, given, seed)
  n, k = setting.prompts, setting.k
  prompts = world.prompts_of("train", n, world.generator("train", seed))
  each = np.repeat(prompts, k, axis=0)
  found = draw(world, base.model, base.params, each, f"log {seed}")
  shape = (n, k, world.completion_width)
  tokens, mask = found.tokens.reshape(shape), found.mask.reshape(shape)
  gold = world.gold_reward(prompts, tokens, mask)
  offset = world.offset(prompts, sizes.LEVEL)[:, None]
  logged = setting.logged(gold + offset, seed)
  rewards = ops_feedback.normalised(logged).rewards
  return Feedback(
    prompts=prompts,
    tokens=tokens,
    mask=mask,
    ref_logps=found.logps.reshape(n, k),
    rewards=rewards.astype(np.float32),
    seed=seed,
    world=world,
    token_logps=found.token_logps.reshape(shape),
  )


def _of_given(base: Base, given: Given, seed: int) -> Feedback:
  """A log that the policy did not write, with its log-probs by the policy."""
  rows = as_batch(given.prompts, given.tokens, given.mask)
  logps = []
  for i in range(0, len(given.prompts), _SCORED):
    picked = np.arange(i, i + _SCORED) % len(given.prompts)  # one shape
    piece = jax.tree.map(lambda x, at=picked: x[at], rows)
    logps.append(np.asarray(_scorer(base.model).score(base.params, piece)))
  logged = base.setting.logged(given.rewards, seed)
  return Feedback(
    prompts=given.prompts,
    tokens=given.tokens,
    mask=given.mask,
    ref_logps=np.concatenate(logps)[: len(given.prompts)],
    rewards=ops_feedback.normalised(logged).rewards.astype(np.float32),
    seed=seed,
    world=base.setting.world,
  )


@functools.cache
def _scorer(model: Model) -> Learner:
  return Learner("sft", model, LearnerConfig(), mesh())


def view(
  method: Method, loss: Loss, feedback: Feedback
) -> tuple[str, Batch, int]:
  """What a loss sees of the log.

  Returns:
    A name for the board, all rows as one batch, and the ties dropped.
  """
  f = feedback
  n, k = f.rewards.shape
  if f.token_logps is None and "behaviour_token_logps" in loss.needs:
    raise UserError(
      f"{loss} takes the log-probs of whoever wrote the completions, and of "
      f"the world {f.world.name} they are not known"
    )
  if k == 1 and (loss.kind is not Kind.SINGLE or "prompt" in str(loss)):
    raise UserError(
      f"{loss} compares completions of a prompt, and with --k=1 the log has one"
    )
  if loss.kind is Kind.GROUP:
    rows = as_batch(
      f.prompts, f.tokens, f.mask, f.rewards, f.ref_logps, f.token_logps
    )
    return f"groups of {k}, rewards", rows, 0
  if loss.kind is Kind.SINGLE:
    table: tuple[Any, ...] = (
      f.tokens,
      f.mask,
      f.rewards,
      f.ref_logps,
      f.token_logps,
    )
    flat: list[Any] = [
      None if x is None else x.reshape(n * k, 1, *x.shape[2:]) for x in table
    ]
    rows = as_batch(np.repeat(f.prompts, k, axis=0), *flat)
    name = "above dataset mean" if "labels" in loss.needs else "reward"
    if "reward_mean" in loss.needs:
      name = "batch threshold"
    return f"single, {name}", rows, 0
  ties = "kept" if "rewards" in loss.needs else "dropped"
  if ties == "kept":
    first = np.tile(np.arange(0, k, 2), n)
    prompt = np.repeat(np.arange(n), k // 2)
    columns, dropped = np.stack([first, first + 1], axis=1), 0
    name = "pairs, rewards"
  else:
    labels: Any = method.labels or "det"
    rng = f.world.generator("labels", f.seed) if labels == "bt" else None
    pairs = ops_feedback.pairs(f.rewards, labels, rng)
    prompt, dropped = pairs.prompt, pairs.ties
    columns = np.stack([pairs.chosen, pairs.rejected], axis=1)
    name = {"det": "pairs, gold label", "bt": "pairs, Bradley-Terry label"}[
      labels
    ]
  picked = (
    x[prompt[:, None], columns]
    for x in (f.tokens, f.mask, f.rewards, f.ref_logps)
  )
  return name, as_batch(f.prompts[prompt], *picked), dropped
