"""Splash attention, interpreted, is dense attention, gradients too."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packing_cases import GEMMA_2, build, everything, rows

from offalign.distributed import constraints, sharding
from offalign.models import kernels, positions, splash
from offalign.models.attending import Attend
from offalign.models.decoder import attention as look

B, P, T, H, G, D = 4, 70, 41, 4, 2, 8
RNG = np.random.default_rng(0)
REAL = RNG.random((B, P)) > 0.2
REAL[0] = False  # a prompt without a token
REAL[1, :50], REAL[2, 9:] = False, False


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
  monkeypatch.setattr(kernels, "INTERPRETED", True)
  monkeypatch.setattr(splash, "LARGEST", 128)


@functools.partial(jax.jit, static_argnames=("make", "k", "window"))
def gradients(make, q, k_, v, real, weights, k, window):
  """What an attention gives for real tokens, and the gradients of its sum."""
  where = jnp.concatenate(
    [
      positions.from_mask(real),
      positions.lengths(real)[:, None] + jnp.tile(jnp.arange(T), (1, k)),
    ],
    axis=1,
  )
  seen = jnp.concatenate([real, jnp.ones((B, k * T), bool)], axis=1)
  attention = make(real, where, k)

  def loss(q, k_, v):
    near = None if window is None else jnp.asarray(window, jnp.int32)
    mixed = jnp.where(seen[..., None, None], attention(near, q, k_, v), 0)
    return jnp.vdot(mixed, weights), mixed

  return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(q, k_, v)


def both(k, window=None, *, cap=None, prefix_lm=False, mesh=None):
  s = P + k * T
  rng = np.random.default_rng(1)
  q, weights = (rng.normal(size=(B, s, H, D)) for _ in range(2))
  keys, values = (rng.normal(size=(B, s, G, D)) for _ in range(2))
  real = REAL if window is None else np.sort(REAL, axis=1)
  args = [jnp.asarray(x, jnp.float32) for x in (q, keys, values)]
  args += [jnp.asarray(real), jnp.asarray(weights, jnp.float32)]

  def dense(real, where, k):
    shared = look.shared_prompt(
      Attend("dense", 0.3, cap), real, where, k, T, prefix_lm=prefix_lm
    )
    return lambda *args: shared(*args, None)[0]

  def kernel(real, where, k):
    called = look.in_one_call(
      Attend("splash", 0.3, cap),
      real,
      k,
      T,
      prefix_lm=prefix_lm,
      # Another window beside the one that is asked for.
      windows={window: 1.0} if window is None else {9: 0.5, window: 0.5},
    )
    return lambda *args: called(*args, None)[0]

  want = gradients(dense, *args, k, window)
  if mesh is None:
    return want, gradients(kernel, *args, k, window)
  by_rows = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(sharding.BATCH_AXES)
  )
  args = [jax.device_put(x, by_rows) for x in args]
  with constraints.ambient(mesh):
    return want, gradients(kernel, *args, k, window)


@pytest.mark.parametrize(
  ("k", "options"),
  [
    (1, {}),
    (2, {"cap": 2.0}),
    (2, {"window": 30, "cap": 2.0}),
    (2, {"window": 60, "prefix_lm": True}),
  ],
  ids=["one", "two-capped", "window-capped", "window-prefix"],
)
def test_it_is_dense_attention(k, options):
  """Grouped queries, padding anywhere, and blocks that lie across parts."""
  want, got = both(k, **options)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    got[0][1:],
    want[0][1:],
  )
  for a, b in zip(got[1], want[1], strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_a_mesh_changes_nothing():
  """Rows over two devices, heads over two."""
  mesh = sharding.make_mesh(
    sharding.MeshConfig(1, 2, 2), devices=jax.devices()[:4]
  )
  want, got = both(2, mesh=mesh)
  np.testing.assert_allclose(got[0][1], want[0][1], rtol=1e-5, atol=1e-5)
  for a, b in zip(got[1], want[1], strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.slow
def test_a_model_with_windows_computes_the_same():
  """Prompts are padded on both sides, and every other layer has a window."""
  batch, found = rows(), {}
  params = jax.jit(build(GEMMA_2).init)(jax.random.key(0))
  for path in ("dense", "splash"):
    model = build(GEMMA_2).attending(path)
    found[path] = jax.jit(
      jax.value_and_grad(
        functools.partial(everything, model, batch=batch), has_aux=True
      )
    )(params)
  (_, want), want_grads = found["dense"]
  (_, got), grads = found["splash"]
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    got,
    want,
  )
  scale = max(np.abs(g).max() for g in jax.tree.leaves(want_grads))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5 * scale),
    grads,
    want_grads,
  )


def seen(layout, query, key):
  """Whether a query sees a key, said one pair at a time."""
  p, t = layout.prompt, layout.completion

  def part(index):
    if index < p:
      return None, index
    return (index - p) // t, p + (index - p) % t

  (by, place), (of, other) = part(query), part(key)
  if by == of:
    past = key <= query or (by is None and layout.prefix_lm)
  else:
    past = of is None and by < layout.completions
  return past and (layout.window is None or place - other < layout.window)


@pytest.mark.parametrize("prefix_lm", [False, True])
@pytest.mark.parametrize("window", [None, 3, 12])
def test_the_mask_of_a_layout(window, prefix_lm, monkeypatch):
  """Every block, also those that are told by their corners."""
  monkeypatch.setattr(splash, "LARGEST", 8)
  monkeypatch.setattr(splash, "_LANES", 4)
  layout = splash.Layout(13, 2, 9, prefix_lm, window)
  n, size = layout.block, layout.shape[0]
  assert (n, size) == (8, 32)
  want = np.array(
    [[seen(layout, i, j) for j in range(size)] for i in range(size)]
  )
  assert want.any(axis=1).all()
  for i, j in itertools.product(range(0, size, n), repeat=2):
    block = slice(i, i + n), slice(j, j + n)
    np.testing.assert_array_equal(layout[block], want[block])


def test_blocks_that_are_ruled_out_are_not_computed():
  layout = splash.Layout(256, 2, 128)
  # Of the prompt 3 of 4 blocks, and each completion's 2 of it and its own.
  assert splash.pairs(layout) == (3 + 2 * 3) * 128 * 128
  near = splash.Layout(256, 2, 128, window=64)
  assert splash.pairs(near) == (3 + 2 * 2) * 128 * 128


def test_whole_blocks_are_made_once():
  """A long mask has 10^5 of them."""
  layout = splash.Layout(98_304, 2, 32_768)
  first, second = (
    layout[slice(i, i + 128), slice(0, 128)] for i in (8_192, 90_112)
  )
  assert first.all()
  assert first is second


def test_the_kernel_is_called():
  call = functools.partial(splash.attend, layout=splash.Layout(P, 1, T))
  q, keys = jnp.zeros((B, P + T, H, D)), jnp.zeros((B, P + T, G, D))
  assert "pallas_call" in str(jax.make_jaxpr(call)(q, keys, keys, REAL))
