"""How the vocabulary is cut, and what that saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds

from offalign.learner import Learner, LearnerConfig
from offalign.models import chunked_softmax, logps


@pytest.mark.parametrize(
  ("tokens", "v", "blocks", "devices", "columns", "pieces"),
  [
    (4096, 131072, 1, 1, 4096, 32),
    (4096, 50257, 1, 1, 3968, 13),
    (4096 * 8, 131072, 1, 8, 4096, 32),
    (4096 * 8, 131072, 4, 32, 4096, 8),
    (10**6, 131072, 1, 1, 1024, 128),  # thin pieces would not pay
    (64, 32128, 1, 1, 32128, 1),
    (64, 50257, 4, 4, 50257, 1),  # a vocabulary that four cannot share
  ],
)
def test_the_automatic_plan(tokens, v, blocks, devices, columns, pieces):
  plan = chunked_softmax.plan(
    tokens,
    v,
    chunk=None,
    layout=chunked_softmax.Layout(devices, blocks),
    softcap=None,
    entropy=False,
  )
  assert (plan.columns, plan.pieces) == (columns, pieces)
  assert plan.blocks * plan.block == v


def test_an_eighth_of_the_memory_at_4096_tokens_and_128k_words():
  shape = jax.ShapeDtypeStruct
  tokens, d, v = (8, 1, 512), 512, 131072
  args = (
    shape((*tokens, d), jnp.float32),
    shape((d, v), jnp.float32),
    shape(tokens, jnp.int32),
    shape(tokens, jnp.float32),
  )

  def dense(hidden, unembedding, targets):
    return logps.logps_from_logits(hidden @ unembedding, targets)

  def temporaries(score):
    def total(hidden, unembedding, targets, weights):
      return jnp.sum(weights * score(hidden, unembedding, targets))

    grad = jax.jit(jax.grad(total, argnums=(0, 1)))
    stats = grad.lower(*args).compile().memory_analysis()
    return stats.temp_size_in_bytes

  logits = 4 * 4096 * v
  assert temporaries(dense) >= logits
  assert temporaries(logps.token_logps) <= min(temporaries(dense), logits) / 8


def test_whole_logits_are_never_held():
  shape = jax.ShapeDtypeStruct
  hidden, unembedding = (
    shape(sizes, jnp.float32) for sizes in ((4, 2, 6, 8), (8, 96))
  )
  targets = shape((4, 2, 6), jnp.int32)

  def held(chunk):
    def total(hidden, unembedding, targets):
      return logps.token_logps(hidden, unembedding, targets, chunk=chunk).sum()

    grad = jax.jit(jax.grad(total, argnums=(0, 1)))
    text = grad.lower(hidden, unembedding, targets).compile().as_text()
    return any(f"[{sizes}]" in text for sizes in ("4,2,6,96", "4,2,6,1,96"))

  assert held(96)
  assert not held(24)


def test_a_learner_trains_the_same_in_pieces():
  model, _, policy = worlds.table()
  batch = worlds.batch("dpo")

  def grads(chunk):
    learner = Learner("dpo", model, LearnerConfig(logp_chunk=chunk))
    objective = learner._objective
    assert objective.layout == chunked_softmax.layout(
      learner.mesh, model.vocab_size
    )
    return jax.jit(objective.grads)({"policy": policy}, batch, None)[:2]

  whole, cut = grads(None), grads(2)
  leaves = zip(jax.tree.leaves(cut), jax.tree.leaves(whole), strict=True)
  for a, b in leaves:
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
