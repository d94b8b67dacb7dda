"""What every transformer here is made of, and the way out of Flax NNX.

Modules hold parameters and do arithmetic on one stream of tokens [B, S, d].
How those tokens see each other (padding, causality, caches, several
completions that share a prompt) is an argument of theirs, a function.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from offalign.models.base import Model
from offalign.types import Array, Params

_MASKED = -1e30  # finite, so that a row without any key is not NaN
_EPSILON = 1e-6

M = TypeVar("M", bound=nnx.Module)


class Attended(NamedTuple):
  """What attention gives each query.

  Attributes:
    mixed: [B, T, H, D] average of the values.
    mass: [B, T, H] log of the sum of the exponentiated scores, in float32
      or wider.
  """

  mixed: Array
  mass: Array


Attention = Callable[[Array, Array, Array, Any], tuple[Array, Any]]
"""(q, k, v [B, S, H, D], cache of the layer) -> (mixed [B, S, H, D], cache)."""


class Linear(nnx.Module):
  """A matrix [n, m], normal(0, std) at first; no bias."""

  def __init__(self, n: int, m: int, std: float, *, rngs: nnx.Rngs):
    self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (n, m)))

  def __call__(self, x: Array) -> Array:
    """[..., n] -> [..., m]."""
    return jnp.matmul(x, self.kernel[...])


class Embedding(nnx.Module):
  """A table [n, d], normal(0, std) at first."""

  def __init__(self, n: int, width: int, std: float, *, rngs: nnx.Rngs):
    self.table = nnx.Param(std * jax.random.normal(rngs.params(), (n, width)))

  def __call__(self, ids: Array) -> Array:
    """[...] -> [..., d]."""
    return self.table[...][ids]


class RMSNorm(nnx.Module):
  """Division by the root mean square, no mean (arXiv:1910.07467)."""

  def __init__(self, width: int):
    self.scale = nnx.Param(jnp.ones(width))

  def __call__(self, x: Array) -> Array:
    """[..., d] -> [..., d], computed in float32 or wider."""
    wide = x.astype(wider(x.dtype))
    square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    scale = jnp.broadcast_to(self.scale[...].astype(wide.dtype), x.shape)
    return (wide * jax.lax.rsqrt(square + _EPSILON) * scale).astype(x.dtype)


def wider(dtype: Any) -> Any:
  """The dtype for norms and softmax: float32, or float64 for float64."""
  return dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)


def split_heads(x: Array, heads: int) -> Array:
  """[B, S, H * D] -> [B, S, H, D]."""
  return x.reshape(*x.shape[:-1], heads, -1)


def attend(
  q: Array,
  k: Array,
  v: Array,
  mask: Array,
  *,
  bias: Array | None = None,
  scale: float | None = None,
) -> Attended:
  """Softmax attention, with scores and softmax in float32.

  `jax.nn.dot_product_attention` would do, but for `mass`: its residual
  carries no gradient, and `merge` needs one.

  Args:
    q: [B, T, H, D].
    k: [B, S, H, D].
    v: [B, S, H, D].
    mask: bool, broadcastable to [B, H, T, S]; True where a query may look. A
      query that may look nowhere gets the mean of `v`: no meaning, no NaN.
    bias: added to the scores; broadcastable to [B, H, T, S].
    scale: what the scores are multiplied by, before the bias; 1/sqrt(D) by
      default.
  """
  dtype = wider(q.dtype)
  scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=dtype)
  scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
  if bias is not None:
    scores = scores + bias
  scores = jnp.where(mask, scores, _MASKED)
  weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
  mass = jax.nn.logsumexp(scores, axis=-1)
  return Attended(
    mixed=jnp.einsum("bhts,bshd->bthd", weights, v),
    mass=mass.transpose(0, 2, 1),
  )


def merge(a: Attended, b: Attended) -> Array:
  """[B, T, H, D] attention over the keys of `a` and of `b` together.

  The softmax over a union is the average of the softmaxes over its parts,
  weighted by their masses.
  """
  share = jax.nn.sigmoid(a.mass - b.mass)[..., None]
  mixed = share * a.mixed.astype(share.dtype)
  mixed = mixed + (1 - share) * b.mixed.astype(share.dtype)
  return mixed.astype(a.mixed.dtype)


def causal(length: int) -> Array:
  """[1, 1, T, T] True where the key is not after the query."""
  return jnp.tril(jnp.ones((1, 1, length, length), bool))


def write(
  past: tuple[Array, Array], new: tuple[Array, Array], slot: Array
) -> tuple[Array, Array]:
  """Puts keys and values [B, 1, H, D] into [B, S, H, D] at one slot."""
  keys, values = (
    jax.lax.dynamic_update_slice_in_dim(old, entry, slot, axis=1)
    for old, entry in zip(past, new, strict=True)
  )
  return keys, values


def stack(build: Callable[[nnx.Rngs], M], n: int, rngs: nnx.Rngs) -> M:
  """n modules as one whose params have a leading axis of n."""
  return nnx.split_rngs(splits=n)(nnx.vmap(build))(rngs)


def scan(
  layers: M,
  step: Callable[[M, Array, Any], tuple[Array, Any]],
  x: Array,
  cache: Any = None,
  *,
  remat: bool = False,
) -> tuple[Array, Any]:
  """Runs stacked layers one after the other.

  Args:
    layers: from `stack`.
    step: (one layer, x, that layer's cache) -> (x, its new cache).
    x: what enters the first layer.
    cache: leaves [L, ...], or None.
    remat: whether the backward pass recomputes what is inside a layer.

  Returns:
    What leaves the last layer, and the new caches [L, ...].
  """
  graph, params = nnx.split(layers)

  def one(x: Array, inputs: tuple[Any, Any]) -> tuple[Array, Any]:
    params, cache = inputs
    return step(nnx.merge(graph, params), x, cache)

  if remat:
    one = jax.checkpoint(one, prevent_cse=False)  # scan prevents it already
  return jax.lax.scan(one, x, (params, cache))


def as_model(
  build: Callable[[nnx.Rngs], nnx.Module],
  *,
  spec: str,
  vocab_size: int,
  width: int,
) -> Model:
  """Turns a module into pure functions over its params.

  Args:
    build: rngs -> a module with the methods `hidden`, `prompt_state`,
      `unembedding`, `prefill` and `decode`, as `Model` has them but for the
      params.
    spec: see `Model`.
    vocab_size: V.
    width: d.
  """
  graph, _ = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

  def init(rng: Array) -> Params:
    return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(rng))))

  def method(name: str) -> Callable[..., Any]:
    def call(params: Params, *args: Any, **kwargs: Any) -> Any:
      return getattr(nnx.merge(graph, params), name)(*args, **kwargs)

    return call

  return Model(
    spec=spec,
    vocab_size=vocab_size,
    width=width,
    init=init,
    hidden=method("hidden"),
    prompt_state=method("prompt_state"),
    unembedding=method("unembedding"),
    prefill=method("prefill"),
    decode=method("decode"),
  )
