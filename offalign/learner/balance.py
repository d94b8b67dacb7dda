"""The load-balancing loss of a mixture of experts, over the global batch.

E * sum_e f_e P_e (arXiv:2101.03961, equation 4): f_e is how many times a token
takes expert e, on average, and P_e the mean probability that routers give it.
Both are over all tokens of the batch and all layers with experts, as
`transformers` computes them (`load_balancing_loss_func`), and not over a
microbatch (arXiv:2501.11873 says what that costs).

Tokens count as if each completion stood in a row of its own behind its prompt:
a prompt that K completions share counts K times. Padding and rows of weight 0
do not count.
"""

import jax.numpy as jnp

from offalign.models import packed as packing
from offalign.models.base import Counted, Routed, Routing
from offalign.types import Array, Batch


def loss(routing: Routing, routed: Routed) -> Array:
  """Computes the loss; its gradient flows through P alone.

  Args:
    routing: the model's.
    routed: sums over the tokens of the batch.

  Returns:
    A number, k where the routers are in balance.
  """
  tokens = jnp.maximum(routed.counts.sum() / routing.chosen, 1e-9)
  shares, means = routed.counts / tokens, routed.mass / tokens
  return routing.experts * jnp.sum(shares * means)


def counted(batch: Batch) -> Counted:
  """How much each token counts, laid out as the batch is."""
  weight = batch.weight
  rows = batch.completion_mask.any(-1).sum(1).astype(weight.dtype)
  prompts = weight * rows
  if batch.packed is None:
    return Counted(
      jnp.where(batch.prompt_mask, prompts[:, None], 0.0),
      jnp.where(batch.completion_mask, weight[:, None, None], 0.0),
    )
  packed = batch.packed

  def of_owner(column: Array, owner: Array) -> Array:
    each = jnp.pad(packing.by_group(packed, column), ((0, 0), (1, 0)))
    flat = owner.reshape(len(owner), -1)
    return jnp.take_along_axis(each, flat, axis=1).reshape(owner.shape)

  return Counted(
    of_owner(prompts, packed.prompt_owner),
    of_owner(weight, packing.owners(packed)),
  )
