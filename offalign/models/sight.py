"""Who sees whom in attention, as a few numbers a token.

A mask [B, 1, T, S] is as large as the scores that it masks. A `Sight` holds
what such a mask is made from, so that dense attention makes all of it, and
blockwise attention a block at a time.
"""

import jax.numpy as jnp
from flax import struct

from offalign.models import layers, positions
from offalign.types import Array


@struct.dataclass
class Sight:
  """Which keys each query may attend to: those that pass every test.

  Attributes:
    keys: int [B or 1, S], the sequence of each key, or bool [B, S], whether a
      key is real; None where all are.
    queries: int [B, T], the sequence of each query, which sees that sequence
      alone; None where a query sees every real key.
    causal: whether a query sees no key of a higher index, T being S.
    window: int [], how many positions a query sees, its own included; None
      for no limit.
    query_places: int [B or 1, T], positions; only a window needs them.
    key_places: int [B or 1, S].
    made: the mask of all this but the window, where it is made already; see
      `whole`.
  """

  keys: Array | None = None
  queries: Array | None = None
  causal: bool = struct.field(pytree_node=False, default=False)
  window: Array | None = None
  query_places: Array | None = None
  key_places: Array | None = None
  made: Array | None = None

  def before(self) -> "Sight":
    """Limits the sight to keys that are not after the query."""
    return self.replace(causal=True)  # type: ignore[attr-defined]

  def near(self, queries: Array, keys: Array, window: Array | None) -> "Sight":
    """Limits the sight to a window; see `positions.near`."""
    if window is None:
      return self
    changes = {"query_places": queries, "key_places": keys}
    return self.replace(window=window, **changes)  # type: ignore[attr-defined]

  def whole(self, queries: int) -> "Sight":
    """Makes the mask of T queries, apart from the window, for `mask`."""
    return self.replace(made=self._made(queries))  # type: ignore[attr-defined]

  def mask(self, queries: int) -> Array:
    """The mask of T queries: bool, broadcastable to [B, H, T, S]."""
    seen = self._made(queries) if self.made is None else self.made
    if self.window is None:
      return seen
    assert self.query_places is not None
    assert self.key_places is not None
    return positions.near(seen, self.query_places, self.key_places, self.window)

  def _made(self, queries: int) -> Array:
    seen = jnp.ones((1, 1, 1, 1), bool)
    if self.queries is not None:
      assert self.keys is not None
      seen = self.queries[:, None, :, None] == self.keys[:, None, None, :]
    elif self.keys is not None:
      seen = self.keys[:, None, None]
    if not self.causal:
      return seen
    return jnp.logical_and(seen, layers.causal(queries))


def real(mask: Array) -> Sight:
  """Every query sees the keys that a mask [B, S] holds."""
  return Sight(keys=mask)


def same(queries: Array, keys: Array) -> Sight:
  """A query sees the keys of its own sequence: ids [B, T], [B, S]."""
  return Sight(keys=keys, queries=queries)


def past() -> Sight:
  """A query sees no key of a higher index."""
  return Sight(causal=True)
