"""A small model of each family, its weights, and rows of every length."""

import functools

import jax
import numpy as np

from offalign import models
from offalign.types import Batch, Kind

SIZE, P, T, V = 16, 6, 5, 32
FAMILIES = {
  "decoder": "decoder(width=16, layers=2, heads=2)",
  "t5": "t5(width=16, layers=2, heads=2, head_dim=8)",
}


COMPLETIONS = {Kind.SINGLE: 1, Kind.PAIR: 2, Kind.GROUP: 3}


def rows(kind):
  """A batch of every length of prompt and completion, and 3 rows of filling."""
  rng, k = np.random.default_rng(0), COMPLETIONS[kind]
  weight = np.ones(SIZE, np.float32)
  weight[-3:] = 0
  lengths = rng.integers(1, T + 1, (SIZE, k, 1))
  return Batch(
    prompts=rng.integers(0, V, (SIZE, P)).astype(np.int32),
    prompt_mask=np.arange(P) < rng.integers(1, P + 1, (SIZE, 1)),
    completions=rng.integers(0, V, (SIZE, k, T)).astype(np.int32),
    completion_mask=np.arange(T) < lengths,
    weight=weight,
    rewards=rng.normal(size=(SIZE, k)).astype(np.float32),
    labels=rng.random((SIZE, k)) > 0.5,
    ref_logps=(-3.5 * lengths[..., 0]).astype(np.float32),
    behaviour_logps=(-3.4 * lengths[..., 0]).astype(np.float32),
  )


@functools.cache
def weights(family):
  """The first policy and a reference that differs from it; on the host."""
  model = models.make(FAMILIES[family], vocab_size=V)
  return tuple(
    jax.device_get(jax.jit(model.init)(jax.random.key(seed))) for seed in (0, 1)
  )
