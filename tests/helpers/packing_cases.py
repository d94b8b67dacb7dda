"""Models and rows for tests of packing and of paths of attention."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from offalign import models
from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.shape import fit
from offalign.learner import forward
from offalign.models import functions, logps
from offalign.models.decoder.decoder import Decoder
from offalign.models.hf import decoder_families
from offalign.types import Batch

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
