"""Log-probs in pieces of the vocabulary, against float64 formulas."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from offalign.models import chunked_softmax
from offalign.models import logps as scoring

B, K, T, D, V = 4, 2, 6, 8, 96


def inputs(dtype=np.float64, v=V, t=T):
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(B, K, t, D))
  unembedding = rng.normal(size=(D, v))
  targets = rng.integers(0, v, size=(B, K, t))
  targets[0, 0, :2] = 0, v - 1
  weights = rng.normal(size=(2, B, K, t))
  return hidden.astype(dtype), unembedding.astype(dtype), targets, weights


def formulas(hidden, unembedding, targets, weights, softcap):
  """Log-probs, entropies and gradients of their weighted sums; numpy."""
  raw = hidden.astype(np.float64) @ unembedding.astype(np.float64)
  capped = raw if softcap is None else softcap * np.tanh(raw / softcap)
  top = capped.max(-1, keepdims=True)
  lse = top + np.log(np.exp(capped - top).sum(-1, keepdims=True))
  logp = capped - lse
  p = np.exp(logp)
  onehot = np.eye(unembedding.shape[1])[targets]
  logps = (logp * onehot).sum(-1)
  entropies = -(p * logp).sum(-1)
  g, e = weights[0][..., None], weights[1][..., None]
  d_capped = g * (onehot - p) - e * p * (logp + entropies[..., None])
  slope = 1 if softcap is None else 1 - np.square(capped / softcap)
  d_raw = d_capped * slope
  return (
    logps,
    entropies,
    np.einsum("bktv,dv->bktd", d_raw, unembedding.astype(np.float64)),
    np.einsum("bktv,bktd->dv", d_raw, hidden.astype(np.float64)),
  )


def ours(hidden, unembedding, targets, weights, **options):
  def total(hidden, unembedding):
    out = scoring.token_stats(hidden, unembedding, targets, **options)
    return jnp.sum(weights[0] * out.logps + weights[1] * out.entropies), out

  run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
  (_, out), grads = jax.jit(run)(jnp.asarray(hidden), jnp.asarray(unembedding))
  return out.logps, out.entropies, *grads


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(
  ("chunk", "blocks", "apart"),
  [
    (96, 1, False),
    (32, 1, False),
    (25, 1, False),
    (7, 4, False),
    (7, 4, True),
    (9, 5, True),  # five cannot share 96 columns
  ],
)
def test_pieces_of_any_size_agree_with_the_formulas(
  softcap, chunk, blocks, apart
):
  case = inputs()
  with jax.enable_x64(True):
    layout = chunked_softmax.Layout(blocks=blocks, apart=apart)
    actual = ours(*case, softcap=softcap, chunk=chunk, layout=layout)
    for a, b in zip(actual, formulas(*case, softcap), strict=True):
      assert a.dtype == np.float64
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [96, 25])
def test_log_probs_alone_are_the_same(chunk):
  hidden, unembedding, targets, weights = inputs(np.float32)
  weights[1] = 0

  def total(hidden, unembedding):
    out = scoring.token_logps(
      hidden, unembedding, targets, softcap=3.0, chunk=chunk
    )
    return jnp.sum(weights[0] * out), out

  run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
  (_, logps), grads = run(hidden, unembedding)
  exact = formulas(hidden, unembedding, targets, weights, 3.0)
  assert logps.dtype == np.float32
  np.testing.assert_allclose(logps, exact[0], rtol=1e-5, atol=1e-5)
  for a, b in zip(grads, exact[2:], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_summed_in_float32():
  hidden, unembedding, targets, weights = inputs(jnp.bfloat16)
  exact = formulas(hidden, unembedding, targets, weights, None)
  actual = ours(hidden, unembedding, targets, weights, chunk=25)
  assert [x.dtype.name for x in actual] == ["float32"] * 2 + ["bfloat16"] * 2
  for a, b in zip(actual[:2], exact[:2], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  for a, b in zip(actual[2:], exact[2:], strict=True):
    error = np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
    assert error < 2**-8  # dlogits and the result are rounded, no sum is


def test_a_float32_gradient_of_bfloat16_weights_would_not_be_lost():
  # Every token adds 1 / 256 to a gradient that starts at 1: a sum kept in
  # bfloat16 would stay there.
  hidden = jnp.ones((1, 1, 257, 1), jnp.bfloat16)
  unembedding = jnp.zeros((1, 4), jnp.bfloat16)
  targets = jnp.zeros((1, 1, 257), int)
  weights = jnp.full((1, 1, 257), 1 / 256).at[0, 0, 0].set(1.0)

  def total(unembedding):
    out = scoring.token_logps(hidden, unembedding, targets, chunk=2)
    return jnp.sum(weights * out)

  grad = jax.grad(total)(unembedding)
  np.testing.assert_allclose(grad[0, 0], 0.75 * 2, rtol=1e-2)


def test_extreme_logits_stay_finite():
  hidden = jnp.full((1, 1, 2, 1), 1000.0)
  unembedding = jnp.asarray([[-5.0, 0.0, 1.0, 7.0, 7.0]])
  targets = jnp.asarray([[[0, 3]]])

  def total(hidden):
    out = scoring.token_stats(hidden, unembedding, targets, chunk=2)
    return out.logps.sum() + out.entropies.sum(), out

  grad, out = jax.grad(total, has_aux=True)(hidden)
  assert np.isfinite(grad).all()
  exact = np.asarray([-12000, 0]) - np.log(2)
  np.testing.assert_allclose(out.logps[0, 0], exact, rtol=1e-6)
  np.testing.assert_allclose(out.entropies, np.log(2), rtol=1e-6)


def test_a_state_that_is_not_a_number_shows():
  hidden, unembedding, targets, _ = inputs(np.float32)
  hidden[1, 0, 2, 3] = np.nan
  logps = scoring.token_logps(hidden, unembedding, targets, chunk=25)
  assert np.argwhere(np.isnan(logps)).tolist() == [[1, 0, 2]]


@pytest.mark.slow
def test_gradients_of_nonlinear_use_and_of_gradients():
  hidden, unembedding, targets, _ = inputs()
  with jax.enable_x64(True):

    def twice(chunk, remat):
      def score(h, w):
        return scoring.token_logps(h, w, targets, softcap=3.0, chunk=chunk)

      inner = jax.checkpoint(score) if remat else score

      def loss(h, w):
        return jnp.sum(jnp.square(inner(h, w).sum(axis=-1)))

      def slope(h, w):
        return jnp.sum(jnp.square(jax.grad(loss)(h, w)))

      grads = jax.grad(loss, argnums=(0, 1))
      seconds = jax.grad(slope, argnums=(0, 1))
      both = jax.jit(lambda h, w: (grads(h, w), seconds(h, w)))
      return both(hidden, unembedding)

    whole = jax.tree.leaves(twice(V, remat=False))
    cut = jax.tree.leaves(twice(25, remat=True))
    for a, b in zip(cut, whole, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_a_vmap_over_weights():
  hidden, unembedding, targets, _ = inputs(np.float32)
  stacked = jnp.stack([unembedding, -unembedding])
  score = functools.partial(scoring.token_logps, hidden, targets=targets)
  mapped = jax.vmap(lambda w: score(w, chunk=25))(stacked)
  for out, w in zip(mapped, stacked, strict=True):
    np.testing.assert_allclose(out, score(w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("axes", "spec"),
  [
    ((2, 1, 4), (None, "tensor")),
    ((2, 2, 2), ("fsdp", "tensor")),
    ((2, 4, 1), (None, "fsdp")),
    ((8, 1, 1), (None, None)),
  ],
)
def test_devices_that_share_the_vocabulary(axes, spec):
  mesh = jax.make_mesh(
    axes, ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3
  )
  layout = chunked_softmax.layout(mesh, V)
  blocks = math.prod(mesh.shape[axis] for axis in spec[1:] if axis)
  assert (layout.devices, layout.blocks) == (8, blocks)
  assert layout.apart == ("tensor" in spec)
  hidden, unembedding, targets, weights = inputs(np.float32, t=16)
  hidden, targets, weights = (
    np.repeat(x, 2, axis=i)
    for x, i in ((hidden, 0), (targets, 0), (weights, 1))
  )

  def total(hidden, unembedding, targets, weights):
    out = scoring.token_stats(
      hidden, unembedding, targets, chunk=4, layout=layout
    )
    return jnp.sum(weights[0] * out.logps + weights[1] * out.entropies), out

  run = jax.grad(total, argnums=(0, 1), has_aux=True)
  place = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
  rows = ("data", "fsdp")
  args = jax.device_put(
    (hidden, unembedding, targets, weights),
    (place(rows), place(*spec), place(rows), place(None, rows)),
  )
  compiled = (
    jax.jit(run, out_shardings=((args[0].sharding, args[1].sharding), None))
    .lower(*args)
    .compile()
  )
  exact = formulas(hidden, unembedding, targets, weights, None)
  grads, out = compiled(*args)
  for a, b in zip((*out, *grads), exact, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

  moved = re.findall(
    r"= \(?(.*?)\)? (all-gather|all-reduce|all-to-all)(?:-start)?\(",
    compiled.as_text(),
  )
  kinds = {kind for _, kind in moved}
  # Only what lies on "fsdp", as the tokens do, may have to be gathered.
  assert "all-reduce" in kinds
  assert kinds == {"all-reduce"} or "fsdp" in spec
  sizes = {
    int(size)
    for shapes, _ in moved
    for shape in re.findall(r"\w+\[([\d,]+)\]", shapes)
    for size in shape.split(",")
  }
  # Neither the vocabulary nor a device's part of it travels at once.
  assert not {V, V // blocks} & sizes
