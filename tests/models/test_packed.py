"""Packed rows give every family the states that rows of its own give."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import models
from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.shape import fit
from offalign.learner import forward
from offalign.models import functions, logps
from offalign.models.decoder.decoder import Decoder
from offalign.models.hf import decoder_families
from offalign.types import Batch

pytestmark = pytest.mark.slow

V, B, K, P, T = 13, 8, 3, 9, 6
CUT = {"shards": 2, "microbatches": 1}
GEMMA_2 = {
  "architectures": ["Gemma2ForCausalLM"],
  "model_type": "gemma2",
  "vocab_size": V,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 6,
  "hidden_activation": "gelu_pytorch_tanh",
  "max_position_embeddings": 64,
  "query_pre_attn_scalar": 8,
  "rms_norm_eps": 1e-6,
  "rope_theta": 50.0,
  "sliding_window": 4,
  "attn_logit_softcapping": 3.0,
  "final_logit_softcapping": 4.0,
}
"""Grouped queries, and windows in every other layer."""
LEARNED = (
  "decoder(width=16, heads=2, positions=learned, max_positions=15, "
  "prefix_lm=True, tied=True)"
)
T5 = "t5(width=16, heads=2, head_dim=6, buckets=8, max_distance=16)"


def build(asked):
  if isinstance(asked, str):
    return models.make(asked, vocab_size=V)
  config = decoder_families.from_hf(asked)
  return functions.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="gemma2",
    vocab_size=V,
    width=config.width,
  )


def rows():
  """Prompts and completions of every length, padded on both sides."""
  rng = np.random.default_rng(0)
  prompt = rng.integers(1, P + 1, (B, 1))
  left, place = rng.integers(0, P + 1 - prompt), np.arange(P)
  return Batch(
    prompts=rng.integers(0, V, (B, P)).astype(np.int32),
    prompt_mask=(place >= left) & (place < left + prompt),
    completions=rng.integers(0, V, (B, K, T)).astype(np.int32),
    completion_mask=np.arange(T) < rng.integers(1, T + 1, (B, K, 1)),
    weight=np.ones(B, np.float32),
  )


def packed(batch):
  """The rows, two or so in each that is packed."""
  prompt, completion = lengths(batch)
  groups = members(B, **CUT)
  shape = fit(prompt[groups], completion.sum(1)[groups], 2)
  return dataclasses.replace(batch, packed=pack(batch, shape, **CUT))


def everything(model, params, batch):
  """All that is computed from states, and a number that depends on it all."""
  hidden = forward.hidden(model, params, batch)
  tokens = logps.token_logps(
    hidden.completions,
    model.unembedding(params),
    forward.targets(batch),
    softcap=model.softcap,
  )
  tokens = forward.by_token(batch, tokens)
  found = {
    "tokens": jnp.where(batch.completion_mask, tokens, 0),
    "prompt": hidden.prompt,
    "alone": forward.prompt_state(model, params, batch),
  }
  parts = [
    jnp.vdot(x.ravel(), jnp.cos(jnp.arange(x.size, dtype=x.dtype)))
    for x in found.values()
  ]
  return jnp.stack(parts).sum(), found


@pytest.fixture(
  scope="module", params=[GEMMA_2, LEARNED, T5], ids=["gemma2", "learned", "t5"]
)
def case(request):
  model = build(request.param)
  # Norms start at 1 and hide what they do.
  params = jax.tree.map(
    lambda x: x + 0.1 * jnp.cos(1.7 * jnp.arange(x.size)).reshape(x.shape),
    jax.jit(model.init)(jax.random.key(0)),
  )

  @jax.jit
  def compute(batch):
    with jax.numpy_dtype_promotion("strict"):
      return jax.value_and_grad(
        lambda params: everything(model, params, batch), has_aux=True
      )(params)

  return SimpleNamespace(
    compute=compute, plain=compute(rows()), is_t5=request.param == T5
  )


def test_states_and_gradients_are_those_of_rows_of_their_own(case):
  (_, want), want_grads = case.plain
  (_, got), grads = case.compute(packed(rows()))
  for name in want:
    np.testing.assert_allclose(
      got[name], want[name], rtol=1e-5, atol=1e-5, err_msg=name
    )
  scale = max(np.abs(g).max() for g in jax.tree.leaves(want_grads))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale),
    grads,
    want_grads,
  )


@pytest.mark.parametrize("name", ["prompt_owner", "segment", "position"])
def test_a_mistake_in_the_rows_would_show(case, name):
  """Sequences that saw their neighbours, or did not know where they are."""
  batch = packed(rows())
  there = getattr(batch.packed, name)
  # The row's first sequence in place of each, so that none is told apart.
  wrong = np.broadcast_to(there[..., :1], there.shape)
  if name == "position":
    wrong = there // 2
  broken = batch.packed.replace(**{name: np.asarray(wrong)})
  (_, found), _ = case.compute(dataclasses.replace(batch, packed=broken))
  off = np.abs(found["tokens"] - case.plain[0][1]["tokens"]).max()
  # A T5 reads distances in the row, which are those of the tokens.
  if case.is_t5 and name == "position":
    assert off < 1e-5
  else:
    assert off > 1e-2
