"""Columns of `Scores` that need no gradient: data and batch statistics."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from offalign.data.batches.batch import next_valid
from offalign.losses import Loss
from offalign.types import Array, Batch, Params

Score = Callable[[Any, Batch], Array]
"""(params, batch) -> log-probs, summed [B, K] or by token [B, K, T]."""


def of(
  loss: Loss,
  score: Score,
  policy: Params,
  batch: Batch,
  ref_params: Params | None,
  ref_score: Score,
  ref_by_token: Score,
) -> dict[str, Any]:
  """Collects the columns a loss declares that are data or batch statistics.

  Args:
    loss: the loss; its `needs` say which columns to collect.
    score: computes log-probs under params of the policy.
    policy: the policy's params.
    batch: the whole global batch of B prompts.
    ref_params: the reference's params; None where the batch already holds
      every log-prob that they would be used for.
    ref_score: computes log-probs under params of the reference, for a batch
      without them.
    ref_by_token: likewise those of tokens.
  """
  lengths = batch.completion_mask.sum(-1).astype(batch.weight.dtype)
  data = {
    "ref_logps": batch.ref_logps,
    "rewards": batch.rewards,
    "margins": batch.margins,
    "labels": batch.labels,
    "behaviour_logps": batch.behaviour_logps,
    "ref_prefix_logps": batch.ref_prefix_logps,
    "ref_token_logps": batch.ref_token_logps,
    "behaviour_token_logps": batch.behaviour_token_logps,
    "token_rewards": batch.token_rewards,
    "token_weights": batch.token_weights,
    "old_token_values": batch.old_token_values,
    "token_mask": batch.completion_mask,
    "lengths": lengths,
    "weight": batch.weight,
  }
  columns: dict[str, Any] = {
    name: data[name] for name in loss.needs if name in data
  }
  columns |= batch_statistics(
    loss.needs,
    weight=batch.weight,
    lengths=lengths,
    rewards=batch.rewards,
    labels=batch.labels,
  )
  if "kl" in loss.needs:
    columns["kl"] = _mismatched_kl(score, policy, batch, ref_params, ref_score)
  if "ref_token_logps" in columns and batch.ref_token_logps is None:
    columns["ref_token_logps"] = jax.lax.stop_gradient(
      ref_by_token(ref_params, batch)
    )
  if "ref_prefix_logps" in columns and batch.ref_prefix_logps is None:
    mask = prefix(batch.completion_mask)
    columns["ref_prefix_logps"] = ref_score(
      ref_params, dataclasses.replace(batch, completion_mask=mask)
    )
  return columns


def batch_statistics(
  names: tuple[str, ...],
  *,
  weight: Array,
  lengths: Array,
  rewards: Array | None,
  labels: Array | None,
) -> dict[str, Array]:
  """Computes the declared means over the global batch.

  Args:
    names: the `needs` of a loss; names that are no batch mean are skipped.
    weight: [B]; rows of weight 0 count for nothing.
    lengths: [B, K] completion tokens.
    rewards: [B, K], or None where no statistic in `names` needs rewards.
    labels: [B, K] bool, or None where no statistic in `names` needs labels.

  Returns:
    name -> scalar.
  """

  def mean(column: Array) -> Array:
    # About the smallest, so that the mean of equal numbers is that number:
    # rewards are compared with it.
    valid = (weight > 0)[:, None]
    base = jnp.min(jnp.where(valid, column, jnp.inf))
    base = jnp.where(jnp.isfinite(base), base, 0.0)
    above = jnp.where(valid, column - base, 0.0).mean(axis=1)
    total = jnp.maximum(jnp.sum(weight), 1e-9)
    return base + jnp.sum(weight * above) / total

  means = {
    "reward_mean": lambda: mean(jnp.asarray(rewards)),
    "length_mean": lambda: mean(lengths),
    "desirable_length_mean": lambda: mean(
      jnp.where(jnp.asarray(labels), lengths, 0)
    ),
    "chosen_length_mean": lambda: mean(lengths[:, :1]),
  }
  return {name: means[name]() for name in names if name in means}


def prefix(mask: Array) -> Array:
  """Masks each completion to the length of the shortest in its row.

  Args:
    mask: bool [B, K, T], the completion tokens.

  Returns:
    bool [B, K, T].
  """
  shortest = mask.sum(-1).min(axis=1)[:, None, None]
  return mask & (jnp.cumsum(mask, axis=-1) <= shortest)


def split(
  columns: dict[str, Any],
) -> tuple[dict[str, Array], dict[str, Any]]:
  """Splits columns into those with a value per row and those per batch.

  Microbatches cut the first; the second are the same for all of them.
  """
  scalars = {k: v for k, v in columns.items() if k == "state" or not v.ndim}
  return {k: v for k, v in columns.items() if k not in scalars}, scalars


def _mismatched_kl(
  score: Score,
  policy: Params,
  batch: Batch,
  ref_params: Params | None,
  ref_score: Score,
) -> Array:
  """Mean log-ratio of (x_i, y_j), j the next row; KTO's z0 before max.

  Among rows with weight, every prompt meets another row's completion; the
  pair has the weight of the row that its completion came from. A row that is
  the only one with weight, as the last of the held-out rows may be, has no
  other to meet: the term is 0.
  """
  nxt = next_valid(batch.weight, jnp)
  has_other = (batch.weight > 0) & (nxt != jnp.arange(len(nxt)))
  mismatched = dataclasses.replace(
    batch,
    completions=batch.completions[nxt],
    completion_mask=batch.completion_mask[nxt],
    weight=jnp.where(has_other, batch.weight[nxt], 0.0),
    packed=batch.packed_mismatched,
  )
  ref_logps = batch.ref_mismatched_logps
  if ref_logps is None:
    ref_logps = ref_score(ref_params, mismatched)
  ratio = score(jax.lax.stop_gradient(policy), mismatched) - ref_logps
  total = jnp.sum(mismatched.weight * ratio.mean(axis=1))
  return total / jnp.maximum(mismatched.weight.sum(), 1e-9)
