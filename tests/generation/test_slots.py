"""Completions in slots are those of sampling in batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import models
from offalign.data.text.ragged import Ragged
from offalign.generation import slots
from offalign.generation.sampling import sample
from offalign.models import functions
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.models.decoder.decoder import Decoder
from offalign.models.positions import Rope

V, ENDS, MOST = 23, [1, 2], 9
EVERYTHING = DecoderConfig(
  vocab_size=V,
  width=16,
  heads=4,
  kv_heads=2,
  gated=True,
  score_cap=3.0,
  logit_cap=4.0,
  ropes=(Rope(50.0), Rope(1000.0, 2.0)),
  windows=(4, None),
  tied=True,
  experts=Mixture(count=5, chosen=2, width=6, dense=(0,)),
)
LEARNED = (
  "decoder(width=16, heads=2, positions=learned, max_positions=41, "
  "prefix_lm=True)"
)
T5 = "t5(width=16, heads=2, head_dim=6, buckets=8, max_distance=16)"


def build(asked):
  if isinstance(asked, str):
    return models.make(asked, vocab_size=V)
  return functions.as_model(
    lambda rngs: Decoder(asked, rngs=rngs),
    spec="everything",
    vocab_size=V,
    width=asked.width,
  )


def case_of(asked):
  model = build(asked)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  lengths = rng.permutation([1, 3, 7, 16, 17, 20, 30, 31])
  prompts = Ragged.of([rng.integers(2, V, n) for n in lengths])
  which = rng.permutation(np.arange(8).repeat([1, 3, 3, 3, 2, 3, 1, 3]))
  seeds = rng.integers(0, 2**30, len(which))
  return model, params, prompts, which, seeds


def complete(case, **options):
  model, params, prompts, which, seeds = case
  given = {"which": which, "seeds": seeds, "eos_id": ENDS} | options
  return slots.complete(model, params, prompts, max_new_tokens=MOST, **given)


def in_a_batch(case, limits, **drawing):
  model, params, prompts, which, seeds = case
  tokens, mask = prompts.padded(which, int(prompts.lengths.max()), 0)
  made = jax.device_get(
    sample(
      model,
      params,
      tokens,
      mask,
      seeds=seeds.astype(np.int32),
      max_new_tokens=MOST,
      eos_id=ENDS,
      limits=limits,
      **drawing,
    )
  )
  return [
    slots.Completion(row[keep], total, each[keep])
    for row, keep, total, each in zip(*made, strict=True)
  ]


def check(found, expected):
  assert len({len(x.tokens) for x in found}) > 1
  for got, wanted in zip(found, expected, strict=True):
    np.testing.assert_array_equal(got.tokens, wanted.tokens)
    np.testing.assert_allclose(got.token_logps, wanted.token_logps, atol=1e-5)
    np.testing.assert_allclose(got.logps, wanted.logps, atol=1e-5)


@pytest.mark.parametrize(
  ("asked", "piece", "drawing"),
  [
    (EVERYTHING, 6, {"temperature": 1.3, "top_k": 9, "top_p": 0.9}),
    (T5, 512, {}),
  ],
  ids=["everything", "t5"],
)
def test_completions_are_those_of_a_batch(asked, piece, drawing, monkeypatch):
  monkeypatch.setattr(slots, "_PIECE", piece)
  case = case_of(asked)
  limits = np.random.default_rng(1).integers(1, MOST + 1, len(case[3]))
  found = complete(case, slots=5, limits=limits, **drawing)
  check(found, in_a_batch(case, limits, **drawing))


def test_no_slot_waits_and_nothing_is_compiled_again():
  model, params, prompts, which, seeds = case_of(LEARNED)
  steps, compiled = [], []

  def decode(params, cache, tokens):
    jax.debug.callback(lambda: steps.append(1))
    return model.decode(params, cache, tokens)

  def note(event, duration, **about):
    if event == "/jax/core/compile/backend_compile_duration":
      compiled.append(about)

  limits = np.tile([9, 1, 2, 8, 1], 4)[: len(which)]
  expected = in_a_batch((model, params, prompts, which, seeds), limits)
  counted = dataclasses.replace(model, decode=decode)
  case = counted, params, prompts, which, seeds
  complete(case, slots=5)
  jax.effects_barrier()
  steps.clear()
  jax.monitoring.register_event_duration_secs_listener(note)
  try:
    found = complete(case, slots=5, limits=limits, eos_id=ENDS)
    jax.effects_barrier()
    taken = len(steps)
    few = complete(case, slots=5, which=which[:9], seeds=seeds[:9] + 1)
  finally:
    jax.monitoring.unregister_event_duration_listener(note)
  assert not compiled
  assert len(few) == 9
  check(found, expected)
  made = np.array([len(x.tokens) for x in found])
  most = made.sum() / 5 + made.max()
  in_batches = sum(made[i : i + 5].max() for i in range(0, len(made), 5))
  assert taken <= most < in_batches
