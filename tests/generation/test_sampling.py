"""Sampling, with one tiny model of each family."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from offalign import models
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.generation import filters, sampling
from offalign.generation.sampling import sample

V, B, P, T, EOS = 9, 16, 4, 6, 1


@pytest.fixture(
  scope="module",
  params=["decoder(width=8, heads=2)", "t5(width=8, heads=2, head_dim=4)"],
  ids=["decoder", "t5"],
)
def case(request):
  model = models.make(request.param, vocab_size=V)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  lengths = rng.integers(1, P + 1, (B, 1))
  return SimpleNamespace(
    model=model,
    params=params,
    prompts=rng.integers(0, V, (B, P)).astype(np.int32),
    prompt_mask=np.arange(P) < lengths,
    seeds=rng.integers(0, 2**31, B).astype(np.int32),
  )


def draw(case, rows=slice(None), **changed):
  options = {
    "seeds": case.seeds[rows],
    "max_new_tokens": T,
    "eos_id": EOS,
  } | changed
  samples = sample(
    case.model,
    case.params,
    case.prompts[rows],
    case.prompt_mask[rows],
    **options,
  )
  return jax.tree.map(np.asarray, samples)


def token_logps(case, samples):
  """[B, T, V] log-probs of every token, by scoring what was sampled."""
  hidden = jax.jit(case.model.hidden)(
    case.params,
    case.prompts,
    case.prompt_mask,
    samples.tokens[:, None],
    samples.mask[:, None],
  )
  logits = hidden.completions[:, 0] @ case.model.unembedding(case.params)
  return np.asarray(jax.nn.log_softmax(logits))


def picked(logps, tokens):
  return np.take_along_axis(logps, tokens[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_logps_are_those_of_scoring_the_samples(case, temperature):
  samples = draw(case, temperature=temperature)
  tokens = picked(token_logps(case, samples), samples.tokens)
  expected = np.where(samples.mask, tokens, 0).sum(1)
  assert samples.logps.dtype == np.float32
  np.testing.assert_allclose(samples.logps, expected, atol=1e-5)


@pytest.mark.parametrize(
  ("temperature", "top_k", "top_p"),
  [(1.0, None, None), (0.7, None, None), (1.3, 4, 0.6), (1.0, None, 0.8)],
)
def test_token_logps_are_of_what_they_were_drawn_from(
  case, temperature, top_k, top_p
):
  samples = draw(case, temperature=temperature, top_k=top_k, top_p=top_p)
  logits = token_logps(case, samples).reshape(B * T, V) / temperature
  if top_k is not None:
    logits = filters.top_k(logits, top_k)
  if top_p is not None:
    logits = filters.top_p(logits, top_p)
  logps = jax.nn.log_softmax(logits).reshape(B, T, V)
  expected = np.where(samples.mask, picked(logps, samples.tokens), 0)
  assert samples.token_logps.dtype == np.float32
  np.testing.assert_allclose(samples.token_logps, expected, atol=1e-5)
  summed = samples.token_logps.sum(1)
  as_model = (temperature, top_k, top_p) == (1.0, None, None)
  assert np.allclose(summed, samples.logps, atol=1e-5) == as_model


def test_a_draw_is_that_of_jaxs_categorical():
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.normal(0, 3, (64, 33)), jnp.float32)
  keys = jax.random.split(jax.random.key(1), 64)
  step = jnp.arange(64)
  choice = sampling.Choice(jnp.ones(()), None, None)
  drawn = jax.jit(sampling.draw)(logits, keys, step, choice)
  expected = jax.vmap(
    lambda key, n, row: jax.random.categorical(jax.random.fold_in(key, n), row)
  )(keys, step, logits)
  np.testing.assert_array_equal(drawn, expected)
  assert len(set(drawn.tolist())) > 10


def test_the_largest_is_the_first_of_equals_and_always_there():
  rows = np.array([[1, 3, 3, 0], [-np.inf] * 4, [np.nan] * 4, [0, 0, 0, 9]])
  found = sampling._largest(jnp.asarray(rows, jnp.float32))
  np.testing.assert_array_equal(found, [1, 0, 0, 3])
  assert found.dtype == jnp.int32


def test_the_mask_ends_with_the_first_eos(case):
  drawn = draw(case).tokens
  first, absent = int(drawn[0, 0]), (set(range(V)) - set(drawn[1])).pop()
  lengths = set()
  for eos in (EOS, first, absent):
    samples = draw(case, eos_id=eos)
    for tokens, mask in zip(samples.tokens, samples.mask, strict=True):
      ends = np.flatnonzero(tokens == eos)
      length = ends[0] + 1 if len(ends) else T
      np.testing.assert_array_equal(mask, np.arange(T) < length)
      assert (tokens[length:] == eos).all()
      lengths.add((int(length), len(ends) > 0))
  assert {(1, True), (T, False)} < lengths


def test_the_rest_of_the_batch_changes_nothing(case):
  whole = draw(case)
  for rows in [slice(3, 5), [14, 3]]:
    part = draw(case, rows)
    np.testing.assert_array_equal(part.tokens, whole.tokens[rows])
    np.testing.assert_array_equal(part.mask, whole.mask[rows])
    np.testing.assert_allclose(part.logps, whole.logps[rows], atol=1e-5)


def test_seeds_decide(case):
  whole = draw(case)
  np.testing.assert_array_equal(draw(case).tokens, whole.tokens)
  other = draw(case, seeds=case.seeds + 1)
  assert (other.tokens != whole.tokens).any()
  same = draw(case, [3] * B, seeds=case.seeds, temperature=2.0).tokens
  assert len({tuple(row) for row in same.tolist()}) > B / 2


def test_the_first_tokens_are_distributed_as_the_model_says(case):
  n = 4096
  samples = draw(
    case,
    [5] * n,
    seeds=np.arange(n, dtype=np.int32),
    max_new_tokens=1,
    temperature=0.7,
  )
  logps = token_logps(case, draw(case))[5, 0] / 0.7
  expected = np.exp(logps) / np.exp(logps).sum()
  seen = np.bincount(samples.tokens[:, 0], minlength=V) / n
  np.testing.assert_allclose(seen, expected, atol=4 * 0.5 / np.sqrt(n))


def test_temperature_0_takes_the_likeliest_token_each_time(case):
  samples = draw(case, temperature=0.0)
  best = token_logps(case, samples).argmax(-1)
  np.testing.assert_array_equal(
    samples.tokens[samples.mask], best[samples.mask]
  )
  again = draw(case, temperature=0.0, seeds=case.seeds + 1)
  np.testing.assert_array_equal(samples.tokens, again.tokens)


def test_tokens_are_among_those_that_the_filters_keep(case):
  samples = draw(case, temperature=1.3, top_k=4, top_p=0.5)
  logits = token_logps(case, samples).reshape(B * T, V) / 1.3
  logits = filters.top_p(filters.top_k(logits, 4), 0.5)
  kept = np.isfinite(logits).reshape(B, T, V)
  assert picked(kept, samples.tokens)[samples.mask].all()
  every = draw(case, temperature=1.3)
  assert not picked(kept, every.tokens)[every.mask].all()
  # What it was drawn with is not what it is scored with.
  tokens = picked(token_logps(case, samples), samples.tokens)
  expected = np.where(samples.mask, tokens, 0).sum(1)
  np.testing.assert_allclose(samples.logps, expected, atol=1e-5)


def test_top_k_of_1_is_greedy(case):
  greedy = draw(case, temperature=0.0)
  one = draw(case, top_k=1)
  np.testing.assert_array_equal(one.tokens, greedy.tokens)


def test_any_of_several_tokens_ends_a_completion(case):
  plain = draw(case)
  samples = draw(case, eos_id=(EOS, 5))
  ended = set()
  for tokens, mask, before in zip(*samples[:2], plain.tokens, strict=True):
    ends = np.flatnonzero(np.isin(before, (EOS, 5)))
    length = ends[0] + 1 if len(ends) else T
    np.testing.assert_array_equal(mask, np.arange(T) < length)
    np.testing.assert_array_equal(tokens[:length], before[:length])
    assert (tokens[length:] == EOS).all()
    ended.add(int(tokens[length - 1]))
  assert ended > {EOS, 5}


def test_it_stops_when_every_row_has_ended(case):
  steps = []

  def decode(params, cache, tokens):
    jax.debug.callback(lambda: steps.append(1))
    return case.model.decode(params, cache, tokens)

  first = draw(case).tokens[:, 0]
  counted = SimpleNamespace(**vars(case))
  counted.model = dataclasses.replace(case.model, decode=decode)
  samples = draw(counted, eos_id=tuple(range(V)))
  jax.effects_barrier()
  assert len(steps) == 1
  np.testing.assert_array_equal(samples.tokens[:, 0], first)
  assert samples.mask.sum() == B


def test_sharded_prompts_and_params_give_the_same(case, monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)
  options = {"top_k": 5, "top_p": 0.9}
  whole = draw(case, **options)
  mesh = sharding.make_mesh(sharding.MeshConfig(fsdp=4))
  assert mesh.size == 8
  rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))
  split = SimpleNamespace(
    model=case.model,
    params=jax.device_put(
      case.params, sharding.state_shardings(mesh, case.params)
    ),
    prompts=jax.device_put(case.prompts, rows),
    prompt_mask=jax.device_put(case.prompt_mask, rows),
    seeds=jax.device_put(case.seeds, rows),
  )
  samples = draw(split, **options)
  np.testing.assert_array_equal(samples.tokens, whole.tokens)
  np.testing.assert_array_equal(samples.mask, whole.mask)
  np.testing.assert_allclose(samples.logps, whole.logps, atol=1e-5)


@pytest.mark.parametrize(
  ("changed", "error"),
  [
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ({"eos_id": V}, "eos_id 9 is not in the vocabulary of 9"),
    ({"temperature": -1.0}, "temperature must be 0 or above"),
    ({"temperature": float("nan")}, "temperature must be 0 or above"),
    ({"eos_id": []}, "eos_id names no token"),
    ({"temperature": 0.0, "top_k": 3}, "top_k=3 has no effect at temperature"),
    ({"temperature": 0.0, "top_p": 0.5}, "top_p=0.5 has no effect"),
    ({"top_k": 0}, "top_k must be at least 1"),
    ({"top_k": V}, "below the vocabulary's 9 tokens, not 9"),
    ({"top_p": 0.0}, "top_p must be above 0"),
    ({"top_p": 1.0}, "top_p must be above 0 and below 1, not 1.0"),
    ({"seeds": jnp.arange(3)}, "16 prompts need one each"),
    ({"seeds": np.ones(B)}, "seeds must be whole numbers"),
  ],
)
def test_mistakes_are_explained(case, changed, error):
  with pytest.raises(UserError, match=error):
    draw(case, **changed)
