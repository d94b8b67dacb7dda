"""Experts: sorted into blocks, they are what a loop over tokens gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offalign.distributed import constraints, sharding
from offalign.errors import UserError
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.models.decoder.experts import Experts, sort_into_blocks

B, S, D, E, K, INNER = 8, 5, 6, 7, 3, 4


def experts(normalised=True):
  mixture = Mixture(E, K, INNER, normalised=normalised)
  config = DecoderConfig(vocab_size=3, width=D, heads=1, experts=mixture)
  return nnx.split(Experts(config, rngs=nnx.Rngs(0)))


def inputs():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(B, S, D)).astype(np.float32)
  return x, rng.integers(0, 3, (B, S)).astype(np.float32)


def every_expert(x, counted, params, normalised):
  """All experts of every token, and then those that it takes."""
  w = nnx.to_pure_dict(params)
  probs = jax.nn.softmax(x @ w["router"])
  least = jnp.sort(probs, axis=-1)[..., -K, None]
  taken = probs >= least
  shares = jnp.where(taken, probs, 0.0)
  if normalised:
    shares = shares / shares.sum(-1, keepdims=True)
  inner = jax.nn.gelu(jnp.einsum("bsd,edf->bsef", x, w["gate"]))
  inner = inner * jnp.einsum("bsd,edf->bsef", x, w["up"])
  y = jnp.einsum("bsef,efd,bse->bsd", inner, w["down"], shares)
  counts, mass = (
    jnp.einsum("bse,bs->e", each, counted)
    for each in (taken.astype(x.dtype), probs)
  )
  return y, counts, mass


def ours(graph, params, x, counted):
  y, routed = nnx.merge(graph, params)(x, counted)
  return y, *routed


def pulled(function, params, x):
  """Values, and gradients of a sum in which every number has its weight."""

  def summed(params, x):
    y, counts, mass = function(params, x)
    wave = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return jnp.sum(wave * y) + jnp.sum(mass * mass.size), (y, counts, mass)

  return jax.jit(jax.grad(summed, (0, 1), has_aux=True))(params, x)


@pytest.mark.parametrize("normalised", [True, False])
def test_values_and_gradients_are_those_of_the_plain_form(normalised):
  graph, params = experts(normalised)
  x, counted = inputs()
  got = pulled(lambda p, x: ours(graph, p, x, counted), params, x)
  want = pulled(lambda p, x: every_expert(x, counted, p, normalised), params, x)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    got,
    want,
  )


@pytest.mark.parametrize("tensor", [1, 2, 4, 8])
def test_the_mesh_changes_nothing(tensor):
  """Also where the devices do not divide an expert (8 of 4 units)."""
  graph, params = experts()
  x, counted = inputs()

  def run(p, x):
    return ours(graph, p, x, counted)

  want = pulled(run, params, x)
  shape = sharding.MeshConfig(fsdp=2 if tensor < 8 else 1, tensor=tensor)
  mesh = sharding.make_mesh(shape)
  # On the devices of the mesh, as batches and params are.
  x, params = jax.device_put((x, params), sharding.replicated(mesh))
  with constraints.ambient(mesh):
    got = pulled(run, params, x)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    got,
    want,
  )


@pytest.mark.parametrize("tokens", [1, 3, 40, 700])
@pytest.mark.parametrize("skewed", [False, True])
def test_every_choice_is_in_a_block_of_its_expert(tokens, skewed):
  rng = np.random.default_rng(tokens)
  chosen = np.stack([rng.permutation(E)[:K] for _ in range(tokens)])
  if skewed:
    chosen[:] = [E - 1, 0, 3]
  blocks = jax.tree.map(np.asarray, sort_into_blocks(jnp.asarray(chosen), E))
  n, b = blocks.source.shape
  flat = blocks.source.reshape(-1)
  m = chosen.size
  np.testing.assert_array_equal(flat[blocks.place], np.arange(m))
  assert (flat < m).sum() == m
  held = np.broadcast_to(blocks.expert[:, None], (n, b)).reshape(-1)
  np.testing.assert_array_equal(held[blocks.place], chosen.reshape(-1))


def test_padding_is_a_share_of_many_tokens():
  rng = np.random.default_rng(0)
  for t, experts in ((512, 16), (4096, 64)):
    chosen = jnp.asarray(rng.integers(0, experts, (t, 8)))
    assert sort_into_blocks(chosen, experts).source.size <= 1.25 * 8 * t


def test_more_experts_than_there_are_cannot_be_taken():
  with pytest.raises(UserError, match="cannot take 3 of 2 experts"):
    Mixture(2, 3, 4)
