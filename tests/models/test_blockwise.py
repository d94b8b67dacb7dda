"""Blockwise attention is dense attention, gradients too, in less memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.distributed import constraints, sharding
from offalign.models import blockwise, layers, sight
from offalign.planning import hlo, traffic

B, H, T, D = 3, 4, 21, 6
RNG = np.random.default_rng(0)
REAL = RNG.random((B, T)) > 0.3
REAL[0] = False  # a row that sees nothing
IDS = np.sort(RNG.integers(0, 4, (B, T)), axis=1)
PLACES = np.maximum(np.cumsum(REAL, axis=1) - 1, 0).astype(np.int32)
WINDOW = sight.real(REAL).before().near(PLACES, PLACES, np.asarray(5, np.int32))


def both(seen, queries, groups, *, dtype, bias=False, **options):
  """What blockwise and dense attention give: results, and all gradients."""
  rng = np.random.default_rng(1)

  def array(*shape):
    return jnp.asarray(rng.normal(size=shape), dtype)

  seen = jax.tree.map(jnp.asarray, seen)
  q = array(B, queries, H, D)
  k, v = array(B, T, groups, D), array(B, T, groups, D)
  table = array(H, queries + T - 1) if bias else None
  weights = array(B, queries, H, D), array(B, queries, H)
  distance = np.arange(T)[None] - np.arange(queries)[:, None] + queries - 1

  def dense(q, k, v, table):
    bias = None if table is None else table[:, distance][None]
    return layers.attend(q, k, v, seen.mask(queries), bias=bias, **options)

  def run(attend):
    def loss(*args):
      found = attend(*args)
      some = found.mass > -1e20  # what the mean of nothing is does not matter
      found = (
        jnp.where(some[..., None], found.mixed, 0),
        jnp.where(some, found.mass, 0),
      )
      return sum(map(jnp.vdot, found, weights)), found

    argnums = (0, 1, 2, 3) if bias else (0, 1, 2)
    return jax.value_and_grad(loss, argnums, has_aux=True)(q, k, v, table)

  @jax.jit
  def run_both():
    with jax.numpy_dtype_promotion("strict"):
      blocks = functools.partial(blockwise.attend, largest=8, **options)
      return run(
        lambda q, k, v, table: blocks(q, k, v, seen, by_distance=table)
      ), run(dense)

  return run_both()


@pytest.mark.parametrize(
  ("seen", "queries", "groups", "options"),
  [
    (sight.real(REAL), 13, 4, {}),
    (WINDOW, T, 2, {"cap": 1.5}),
    (
      sight.same(IDS, IDS).before(),
      T,
      1,
      {"bias": True, "cap": 2.0, "scale": 0.7},
    ),
    (sight.Sight(), 9, 2, {"bias": True}),
  ],
  ids=["padding", "window-capped", "packed-bias-capped", "cross-bias"],
)
def test_values_and_gradients_are_those_of_dense_attention(
  seen, queries, groups, options
):
  got, want = both(seen, queries, groups, dtype=jnp.float32, **options)
  chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-5)


def test_in_float64_they_are_equal_to_the_last_digits():
  seen = sight.same(IDS, IDS).before()
  with jax.enable_x64(True):
    got, want = both(seen, T, 2, dtype=jnp.float64, bias=True, cap=2.0)
    chex.assert_trees_all_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_query_without_any_key_gets_zeros():
  x = jnp.ones((1, 9, 2, 4))
  nothing = sight.real(jnp.zeros((1, 9), bool))

  def total(x):
    found = blockwise.attend(x, x, x, nothing, largest=8)
    return found.mixed.sum(), found

  gradient, found = jax.jit(jax.grad(total, has_aux=True))(x)
  assert not found.mixed.any()
  assert (found.mass == -1e30).all()
  assert not gradient.any()


def test_pairs_of_blocks_that_cannot_matter_are_left_out():
  def scores(seen):
    grad = jax.grad(
      lambda x: blockwise.attend(x, x, x, seen, largest=8).mixed.sum()
    )
    return str(jax.make_jaxpr(grad)(jnp.ones((1, 32, 2, 4))))

  assert "length=16" in scores(sight.Sight())
  assert "length=10" in scores(sight.past())
  ids = jnp.repeat(jnp.arange(4), 8)[None]
  plan = blockwise.Plan(*[blockwise.Cut(4, 8)] * 2, 32, 1.0, None, True, True)
  seen = sight.same(ids, ids).before()
  needed = blockwise._needed(plan, blockwise._facts(plan, seen))
  i, j = plan.pairs
  np.testing.assert_array_equal(needed, i == j)
  places = jnp.arange(32)[None]
  seen = sight.past().near(places, places, jnp.asarray(2))
  needed = blockwise._needed(plan, blockwise._facts(plan, seen))
  np.testing.assert_array_equal(needed, i - j <= 1)


def test_a_gradient_takes_an_eighth_of_the_memory_at_2048_tokens():
  shape = jax.ShapeDtypeStruct((1, 2048, 4, 32), jnp.float32)
  seen = sight.past()

  def temporaries(attend):
    grad = jax.grad(lambda *x: attend(*x).mixed.sum(), (0, 1, 2))
    compiled = jax.jit(grad).lower(shape, shape, shape).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  dense = temporaries(lambda q, k, v: layers.attend(q, k, v, seen.mask(2048)))
  blocks = temporaries(
    lambda q, k, v: blockwise.attend(q, k, v, seen, largest=128)
  )
  assert dense >= 4 * 4 * 2048**2  # the scores of four heads
  assert blocks <= dense / 8, (blocks, dense)


@pytest.mark.parametrize(
  ("seen", "bias"),
  [(WINDOW, False), (sight.same(IDS, IDS).before(), True)],
  ids=["window", "packed-bias"],
)
def test_devices_send_neither_scores_nor_keys(seen, bias):
  """Rows and heads are split; of a bias, the gradient is summed once."""
  mesh = sharding.make_mesh(sharding.MeshConfig(2, 2, 2))
  rows = jax.sharding.PartitionSpec(sharding.BATCH_AXES)
  heads = jax.sharding.PartitionSpec(sharding.BATCH_AXES, None, "tensor")

  def placed(x, spec):
    where = jax.sharding.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

  # Four rows, for the four devices that share them.
  seen = jax.tree.map(
    lambda x: placed(np.concatenate([x, x[:1]]), rows) if x.ndim else x, seen
  )
  q = placed(np.zeros((4, T, H, D), np.float32), heads)
  table = jax.ShapeDtypeStruct((H, 2 * T - 1), jnp.float32)

  def loss(q, table, seen):
    with constraints.ambient(mesh):
      by_distance = table if bias else None
      found = blockwise.attend(
        q, q, q, seen, by_distance=by_distance, largest=8
      )
    return jnp.square(found.mixed).sum() + found.mass.sum()

  grad = jax.jit(jax.grad(loss, (0, 1)))
  module = hlo.parse(grad.lower(q, table, seen).compile().as_text())
  found = traffic.collectives(module, mesh.size)
  assert set(found) <= {"all-reduce"}, found
  # Which pairs of blocks matter to any row is one bit a pair, each way.
  pairs = 2 * 6
  size = 4 * H * (2 * 24 - 1) / 2 if bias else 0  # of padded distances
  assert found["all-reduce"].sent <= 2 * (size + 4 * pairs), found
