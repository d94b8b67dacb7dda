"""Which way attention is computed, and that models compute the same."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from packing_cases import GEMMA_2, LEARNED, T5, build, everything, packed, rows

from offalign import models
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.models import attending
from offalign.models.attending import Attend


def test_the_length_decides():
  auto = Attend()
  assert auto.is_dense(512, 512)
  assert auto.is_dense(64, 4096)
  assert not auto.is_dense(513, 512)
  assert auto.is_dense(1, 10**6)  # decoding
  assert Attend("dense").is_dense(4096, 4096)
  assert not Attend("blockwise").is_dense(2, 2)
  assert Attend("blockwise").is_dense(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("asked", "batch"),
  [(GEMMA_2, packed(rows())), (LEARNED, rows()), (T5, packed(rows()))],
  ids=["gemma2-packed", "learned-prefix", "t5-packed"],
)
def test_a_model_computes_the_same_in_blocks(asked, batch, monkeypatch):
  """Log-probs, their gradients, and greedy tokens with a cache."""
  monkeypatch.setitem(attending._SIZES, "cpu", 8)
  params = jax.tree.map(
    lambda x: x + 0.1 * jnp.cos(1.7 * jnp.arange(x.size)).reshape(x.shape),
    jax.jit(build(asked).init)(jax.random.key(0)),
  )

  def run(path):
    model = build(asked).attending(path)

    @jax.jit
    def compute(params):
      mask = jnp.asarray(batch.prompt_mask)
      cache, state = model.prefill(params, batch.prompts, mask, 2)
      first = (state @ model.unembedding(params)).argmax(axis=1)
      cache, state = model.decode(params, cache, first)
      second = (state @ model.unembedding(params)).argmax(axis=1)
      (_, found), grads = jax.value_and_grad(
        lambda params: everything(model, params, batch), has_aux=True
      )(params)
      return found, grads, (first, second)

    return compute(params)

  want, want_grads, tokens = run("dense")
  got, grads, same = run("blockwise")
  chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-5)
  scale = max(np.abs(g).max() for g in jax.tree.leaves(want_grads))
  chex.assert_trees_all_close(grads, want_grads, rtol=0, atol=1e-5 * scale)
  chex.assert_trees_all_equal(same, tokens)


def test_the_learner_asks_the_model_for_it():
  model = models.make("t5(width=8, heads=2)", vocab_size=8)
  learner = Learner("sft", model, LearnerConfig(attention="blockwise"))
  assert learner.model.spec == model.spec
  with pytest.raises(UserError, match=r"^attention must be .*splash, not"):
    LearnerConfig(attention="blok")
  with pytest.raises(UserError, match=r"^attention=dense is set, but .* does"):
    Learner("sft", worlds.table()[0], LearnerConfig(attention="dense"))


def test_what_the_header_says():
  assert attending.describe("blockwise") == "attention is blockwise"
  assert "262,144 scores" in attending.describe("auto")
  np.testing.assert_equal(attending.platform(), "cpu")
