"""Batch statistics from the data alone: means of rewards, labels, lengths."""

import jax.numpy as jnp

from offalign.types import Array


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
    # Summed relative to the smallest, so that the mean of equal numbers is
    # exactly that number: losses compare rewards with it.
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
