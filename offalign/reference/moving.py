"""References that move at the borders between rounds: a copy, or an average."""

import jax

from offalign.types import Params


def after_border(before: Params, policy: Params, kept: float) -> Params:
  """The reference's weights after a border between rounds.

  With 0 < kept < 1 the soft update of TR-DPO (arXiv:2404.09656) with
  alpha = 1 - kept, computed in float32 and returned in the dtypes of
  `before`.

  Args:
    before: the reference's weights before the border.
    policy: the policy's at the border, of the same shapes; adapters merged.
    kept: the share of `before` that stays, `ReferenceChoice.kept`: 0 = the
      policy takes its place, 1 = it does not move.

  Returns:
    `before` or `policy` itself where kept is 1 or 0, else new arrays.
  """
  if kept in (0.0, 1.0):
    return before if kept else policy

  def mixed(old: jax.Array, new: jax.Array) -> jax.Array:
    found = kept * old.astype("float32") + (1 - kept) * new.astype("float32")
    return found.astype(old.dtype)

  return jax.tree.map(mixed, before, policy)
