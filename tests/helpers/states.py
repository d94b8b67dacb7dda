"""States without a learner, for checkpoints."""

import jax
import jax.numpy as jnp

from offalign.learner import TrainState


def state(step=0, width=3, value=True):
  """Something of the form of a state, without a learner."""
  params = {
    "policy": {"head": {"kernel": jnp.arange(2.0 * width).reshape(2, width)}}
  }
  if value:
    params["value"] = {"head": {"bias": jnp.float32(0.5)}}
  opt_state = {
    name: (jax.tree.map(jnp.ones_like, tree), jnp.int32(step))
    for name, tree in params.items()
  }
  return TrainState(jnp.int32(step), params, opt_state)
