"""Transformer layers that all model families share: linear, norms, attention.

Modules hold parameters and do arithmetic on one stream of tokens [B, S, d].
How those tokens see each other (padding, causality, caches, several
completions that share a prompt) is passed to them as a function.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from offalign.distributed import constraints
from offalign.models import apart, logps
from offalign.models.base import Remat
from offalign.models.product import product
from offalign.types import Array

_MASKED = -1e30  # finite, so that a row without any key is not NaN
_KEPT: dict[str, Any] = {
  "block": None,  # nothing
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""Remat -> the jax policy for what the forward pass keeps of a layer."""

M = TypeVar("M", bound=nnx.Module)
P = ParamSpec("P")
R = TypeVar("R")


class Attended(NamedTuple):
  """The result of attention for each query.

  Attributes:
    mixed: [B, T, H, D] weighted average of the values.
    mass: [B, T, H] log-sum-exp of the scores, in float32 or wider.
  """

  mixed: Array
  mass: Array


Attention = Callable[[Array, Array, Array, Any], tuple[Array, Any]]
"""Attention of one layer: (q, k, v, cache of the layer) -> (mixed, cache).

q and mixed are [B, S, H, D], k and v [B, S, G, D].
"""


def light(function: Callable[P, R]) -> Callable[P, R]:
  """Has a function computed again in the backward pass, since it is cheap.

  What it makes on the way is then not kept. Matrix products in it are computed
  again only where something after them needs their results, so that a linear
  map at its end costs nothing.
  """
  # prevent_cse=False: inside a scan nothing else is needed.
  return jax.checkpoint(function, prevent_cse=False)


class Linear(nnx.Module):
  """A linear map [n, m], started at normal(0, std); bias [m] optional."""

  def __init__(
    self, n: int, m: int, std: float, *, bias: bool = False, rngs: nnx.Rngs
  ):
    self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (n, m)))
    self.bias = nnx.Param(jnp.zeros(m)) if bias else None

  def __call__(self, x: Array) -> Array:
    """[..., n] -> [..., m]."""
    kernel = self.kernel.get_value()
    # It may be a `lora.LowRank` or `Turned` in place of an array.
    y = product(x, kernel) if isinstance(kernel, jax.Array) else x @ kernel
    return y if self.bias is None else y + _along(self.bias[...], y)


class Embedding(nnx.Module):
  """An embedding table [n, d], started at normal(0, std)."""

  def __init__(self, n: int, width: int, std: float, *, rngs: nnx.Rngs):
    self.table = nnx.Param(std * jax.random.normal(rngs.params(), (n, width)))

  def __call__(self, ids: Array) -> Array:
    """[...] -> [..., d]."""
    return constraints.whole_rows(self.table[...])[ids]


class RMSNorm(nnx.Module):
  """RMS norm: divides by the root mean square (arXiv:1910.07467)."""

  def __init__(
    self, width: int, epsilon: float = 1e-6, *, plus_one: bool = False
  ):
    """Makes the norm.

    Args:
      width: d.
      epsilon: added to the mean square.
      plus_one: whether the param is the scale minus one (Gemma).
    """
    self.epsilon = epsilon
    self.plus_one = plus_one
    self.scale = nnx.Param(jnp.zeros(width) if plus_one else jnp.ones(width))

  def __call__(self, x: Array) -> Array:
    """[..., d] -> [..., d], computed in float32 or wider."""
    return light(self._normed)(x, self.scale[...])

  def _normed(self, x: Array, scale: Array) -> Array:
    wide = x.astype(wider(x.dtype))
    square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    scale = _along(scale.astype(wide.dtype), x)
    if self.plus_one:
      scale = 1 + scale
    return (wide * jax.lax.rsqrt(square + self.epsilon) * scale).astype(x.dtype)


class LayerNorm(nnx.Module):
  """Layer norm: (x - mean) / standard deviation (arXiv:1607.06450)."""

  def __init__(self, width: int, epsilon: float):
    self.epsilon = epsilon
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))

  def __call__(self, x: Array) -> Array:
    """[..., d] -> [..., d], computed in float32 or wider."""
    return light(self._normed)(x, self.scale[...], self.bias[...])

  def _normed(self, x: Array, scale: Array, bias: Array) -> Array:
    wide = x.astype(wider(x.dtype))
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    scale, bias = (_along(p.astype(wide.dtype), x) for p in (scale, bias))
    y = wide * jax.lax.rsqrt(square + self.epsilon) * scale + bias
    return y.astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "relu": jax.nn.relu,
  "relu_squared": lambda x: jnp.square(jax.nn.relu(x)),
  "silu": jax.nn.silu,
}


def _along(vector: Array, x: Array) -> Array:
  """Broadcasts a vector [d] to [..., d]."""
  return jnp.broadcast_to(vector, x.shape)


def wider(dtype: Any) -> Any:
  """The dtype for norms and softmax: float32, or float64 for float64."""
  return dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)


def split_heads(x: Array, heads: int) -> Array:
  """Splits heads: [B, S, H * D] -> [B, S, H, D]."""
  return x.reshape(*x.shape[:-1], heads, -1)


def attend(
  q: Array,
  k: Array,
  v: Array,
  mask: Array,
  *,
  bias: Array | None = None,
  scale: float | None = None,
  cap: float | None = None,
  by_head: bool = False,
) -> Attended:
  """Softmax attention, with scores and softmax in float32.

  `jax.nn.dot_product_attention` does not serve, because of `mass`: the
  log-sum-exp that it returns carries no gradient, and `merge` needs one.

  Args:
    q: [B, T, H, D].
    k: [B, S, G, D]. G divides H: key 0 is for the first H / G queries, key 1
      for the next, and so on (arXiv:2305.13245).
    v: [B, S, G, D].
    mask: bool, broadcastable to [B, H, T, S]; True where a query may attend.
      A query without any key gets the mean of `v`: meaningless, but not NaN.
    bias: added to the scores; broadcastable to [B, H, T, S].
    scale: what the scores are multiplied by, before the bias; 1/sqrt(D) by
      default.
    cap: the bound on the scores, see `chunked_softmax.soft_cap`; applied
      before the bias too.
    by_head: whether `k` and `v` are [B, G, S, D], which CPUs read faster.
  """
  dtype = wider(q.dtype)
  b, t, h, d = q.shape
  g, s = k.shape[1:3] if by_head else k.shape[2:0:-1]
  keys = "bgsd" if by_head else "bsgd"
  scores = jnp.einsum(
    f"btgrd,{keys}->bgrts",
    q.reshape(b, t, g, h // g, d),
    k,
    preferred_element_type=dtype,
  ).reshape(b, h, t, s)
  scores = scores * (d**-0.5 if scale is None else scale)
  scores = logps.soft_cap(scores, cap)
  if bias is not None:
    scores = _biased(scores, bias)
  scores = jnp.where(mask, scores, _MASKED)
  # Both from the same exponentials, which are then kept once.
  top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  likely = jnp.exp(scores - top)
  total = likely.sum(axis=-1, keepdims=True)
  weights = (likely / total).astype(v.dtype)
  mass = (top + jnp.log(total))[..., 0]
  mixed = jnp.einsum(
    f"bgrts,{keys}->btgrd", weights.reshape(b, g, h // g, t, s), v
  )
  return Attended(mixed=mixed.reshape(b, t, h, d), mass=mass.transpose(0, 2, 1))


@jax.custom_vjp
def _biased(scores: Array, bias: Array) -> Array:
  """Scores [B, H, T, S] and a bias that is broadcastable to them.

  The gradient of a bias that rows share is the sum over them. Written as a
  product with ones, XLA computes it thirty times as fast on CPUs.
  """
  return scores + bias


def _biased_forward(scores: Array, bias: Array) -> tuple[Array, Array]:
  return scores + bias, bias


def _biased_backward(bias: Array, g: Array) -> tuple[Array, Array]:
  if bias.shape == (1, *g.shape[1:]):
    ones = jnp.ones(g.shape[0], g.dtype)
    summed = jnp.einsum("b,bhts->hts", ones, g, precision="highest")[None]
  else:
    wide = jax.ShapeDtypeStruct(bias.shape, g.dtype)
    add = jax.linear_transpose(lambda b: jnp.broadcast_to(b, g.shape), wide)
    (summed,) = add(g)
  return g, summed.astype(bias.dtype)


_biased.defvjp(_biased_forward, _biased_backward)


def merge(a: Attended, b: Attended) -> Array:
  """Merges attention over two sets of keys into one over both, [B, T, H, D].

  The softmax over a union is the average of the softmaxes over its parts,
  weighted by their masses.
  """
  return light(_merged)(a, b)


def _merged(a: Attended, b: Attended) -> Array:
  share = jax.nn.sigmoid(a.mass - b.mass)[..., None]
  mixed = share * a.mixed.astype(share.dtype)
  mixed = mixed + (1 - share) * b.mixed.astype(share.dtype)
  return mixed.astype(a.mixed.dtype)


def causal(length: int) -> Array:
  """Causal mask [1, 1, T, T]: True where the key is not after the query."""
  return jnp.tril(jnp.ones((1, 1, length, length), bool))


def write(
  past: tuple[Array, Array], new: tuple[Array, Array], slot: Array
) -> tuple[Array, Array]:
  """Writes keys and values [B, C, G, D] into a cache [B, S, G, D].

  Args:
    past: keys and values so far.
    new: of the next C tokens.
    slot: int [B], where the first of them goes in each row.
  """
  row = jnp.arange(slot.shape[0])[:, None]
  places = slot[:, None] + jnp.arange(new[0].shape[1])[None]
  keys, values = (
    old.at[row, places].set(entry) for old, entry in zip(past, new, strict=True)
  )
  return keys, values


def write_by_head(
  past: tuple[Array, Array], new: tuple[Array, Array], slot: Array
) -> tuple[Array, Array]:
  """Writes keys and values [B, 1, G, D] into a cache [B, G, S, D].

  Args:
    past: keys and values so far.
    new: of the next token.
    slot: int [B], where it goes in each row.
  """
  row = jnp.arange(slot.shape[0])
  keys, values = (
    old.at[row, :, slot].set(entry[:, 0])
    for old, entry in zip(past, new, strict=True)
  )
  return keys, values


def by_head(past: Any) -> Any:
  """Keys and values [..., S, G, D] as [..., G, S, D]."""
  return jax.tree.map(lambda x: jnp.swapaxes(x, -3, -2), past)


def stack(build: Callable[[nnx.Rngs], M], n: int, rngs: nnx.Rngs) -> M:
  """Stacks n modules into one whose params have a leading axis of n."""
  return nnx.split_rngs(splits=n)(nnx.vmap(build))(rngs)


def scan(
  layers: M,
  step: Callable[[M, Array, Any], tuple[Array, Any]],
  x: Array,
  cache: Any = None,
  *,
  remat: Remat = "none",
  part: slice | None = None,
) -> tuple[Array, Any]:
  """Runs stacked layers one after the other.

  Args:
    layers: from `stack`; of weights or caches that are `Apart`, each layer
      runs by itself, without a scan.
    step: (one layer, x, that layer's cache) -> (x, the layer's new cache).
      The cache passed in may hold more than the one returned.
    x: the input of the first layer.
    cache: leaves [L, ...], or None.
    remat: what the backward pass recomputes of each layer.
    part: the layers to run, which are also those of `cache`; None for all.

  Returns:
    The output of the last layer, and the new caches [L, ...]; those of layers
    that are apart are apart too.
  """
  graph, params = nnx.split(layers)
  if part is not None:
    params = apart.take(params, part)

  def one(x: Array, inputs: tuple[Any, Any]) -> tuple[Array, Any]:
    params, cache = inputs
    x, cache = step(nnx.merge(graph, params), constraints.spread(x), cache)
    return constraints.spread(x), cache

  if apart.any_apart((params, cache)):
    caches = []
    for i in range(apart.count((params, cache))):
      x, new = one(x, (apart.take(params, i), apart.take(cache, i)))
      caches.append(new)
    return x, jax.tree.map(lambda *parts: apart.Apart(parts), *caches)
  if remat != "none":
    # prevent_cse=False: inside a scan nothing else is needed.
    one = jax.checkpoint(one, prevent_cse=False, policy=_KEPT[remat])
  return jax.lax.scan(one, x, (params, cache))
