"""What is known of the global batch before any model runs."""

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
    names: a loss's needs; those that are no batch mean are passed over.
    weight: [B]; rows of weight 0 count for nothing.
    lengths: [B, K] completion tokens.
    rewards: [B, K], or None where no name needs it.
    labels: [B, K] bool, or None where no name needs it.

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
