"""The learner's columns by token: right, and the same however they are made."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from sequences import (
  D,
  T,
  V,
  batch,
  markov,
  objective,
  packed,
  params_for,
  plain_logps,
  weights,
)

from offalign import losses, models
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig, forward
from offalign.learner.check_batch import check_batch
from offalign.learner.value import ValueConfig
from offalign.models import lora as lora_lib
from offalign.models.lora import LoraConfig
from offalign.types import Scores

SPECS = (
  "ppo",
  "ppo(whiten=True)",
  "grpo(ratio=token, kl=token, behaviour=logged)",
  "grpo(ratio=token, kl=token, loss_type=dapo)",
  "tdpo1",
)
same = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def logged(**options):
  """Rows with log-probs of tokens by the policy that wrote them."""
  rows = batch(**options)
  rng = np.random.default_rng(7)
  noise = rng.normal(scale=0.3, size=rows.completions.shape)
  mask = rows.completion_mask
  old = np.where(mask, by_tokens(weights(0), rows) + noise, 9.0)
  return dataclasses.replace(rows, behaviour_token_logps=old)


def by_tokens(params, rows):
  """Log-probs of tokens as differences of sums over ever longer prefixes."""
  ends = [np.arange(T) < n for n in range(T + 1)]
  sums = [
    plain_logps(
      params, rows.prompts, rows.completions, rows.completion_mask & end
    )
    for end in ends
  ]
  return np.diff(np.stack(sums, axis=-1), axis=-1)


@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_columns_are_those_of_a_loop(microbatches):
  rows, reference = logged(), weights(1)
  ppo = objective("ppo", microbatches=microbatches)
  params = params_for(ppo)
  data = ppo._columns(params, rows, reference, None)
  learned = ppo._map(lambda piece: ppo._scored(params, piece), rows)
  scores = Scores({**data, **learned})
  mask = rows.completion_mask
  np.testing.assert_array_equal(scores.token_mask, mask)
  same(scores.token_logps, by_tokens(weights(0), rows))
  same(scores.token_logps.sum(-1), scores.logps)
  same(np.where(mask, scores.ref_token_logps, 0.0), by_tokens(reference, rows))
  value = jax.device_get(params_for(ppo)["value"])
  head, trunk = value["head"], value["trunk"]["embedding"]
  last = np.broadcast_to(rows.prompts[:, None, -1:], (*mask.shape[:2], 1))
  before = np.concatenate([last, rows.completions[..., :-1]], axis=2)
  want = trunk[before] @ head["kernel"] + head["bias"]
  same(np.asarray(scores.token_values)[mask], want[mask])


@pytest.mark.parametrize("microbatches", [1, 3])
def test_divergences_are_those_of_a_loop(microbatches):
  rows, reference = logged(), weights(1)
  tdpo = objective("tdpo2", microbatches=microbatches)._beside(reference)
  learned = tdpo._map(
    lambda piece: tdpo._scored({"policy": weights(0)}, piece), rows
  )
  own, other = (
    jax.nn.log_softmax(w["embedding"] @ w["head"])
    for w in (weights(0), reference)
  )
  table = np.asarray((np.exp(other) * (other - own)).sum(-1))
  want = np.zeros(rows.completions.shape)
  for b, k, t in np.argwhere(rows.completion_mask):
    before = rows.completions[b, k, t - 1] if t else rows.prompts[b, -1]
    want[b, k, t] = table[before]
  same(learned["token_kls"], want)


@pytest.mark.parametrize("spec", SPECS)
def test_a_step_is_the_same_however_it_is_computed(spec):
  k = 2 if "tdpo" in spec else 3
  rows, reference = logged(k=k), weights(1)
  plain = objective(spec)
  params = params_for(plain)
  step = functools.partial(jax.jit, static_argnums=0)(
    lambda objective, rows, ref: objective.grads(params, rows, ref)
  )
  want, want_losses, want_means = step(plain, rows, reference)
  counts = rows.weight > 0
  stored = dataclasses.replace(rows, ref_token_logps=by_tokens(reference, rows))
  cut = dataclasses.replace(plain, microbatches=3)
  ways = {
    "microbatches": (cut, rows, reference),
    "chunks": (dataclasses.replace(plain, logp_chunk=2), rows, reference),
    "stored reference": (plain, stored, None),
    "packed": (cut, packed(rows, 2, 3), reference),
  }
  if "token_kls" in plain.loss.needs:  # of a model alone
    del ways["stored reference"]
  for way in ways.values():
    got, got_losses, got_means = step(*way)
    jax.tree.map(same, got, want)
    same(got_losses[counts], want_losses[counts])
    jax.tree.map(same, got_means, want_means)


def test_numbers_behind_the_end_of_a_completion_change_nothing():
  rows = logged()
  rows = dataclasses.replace(rows, ref_token_logps=by_tokens(weights(1), rows))
  junk = {
    name: np.where(rows.completion_mask, getattr(rows, name), -55.0)
    for name in ("behaviour_token_logps", "ref_token_logps")
  }
  ppo = objective("ppo")
  params = params_for(ppo)
  want, got = (
    ppo.grads(params, r, None)
    for r in (rows, dataclasses.replace(rows, **junk))
  )
  jax.tree.map(same, got, want)


@pytest.mark.parametrize("spec", ["ppo(whiten=True)", "tdpo2"])
@pytest.mark.parametrize("mesh", [{}, {"fsdp": 4}], ids=str)
def test_a_mesh_changes_no_step(spec, mesh):
  rows = jax.tree.map(lambda x: np.concatenate([x, x[:4]]), logged())
  plain = objective(spec)
  params = params_for(plain)
  want = plain.grads(params, rows, weights(1))
  made = sharding.make_mesh(sharding.MeshConfig(**mesh))
  placed = sharding.put_batch(made, rows)
  got = jax.jit(plain.grads)(params, placed, weights(1))
  jax.tree.map(same, got, want)


def test_a_vocabulary_in_parts_changes_no_divergence(monkeypatch):
  """Weights split over devices, adapters or none, layers recomputed or not."""
  monkeypatch.setattr(sharding, "SMALL", 1)
  model = models.make("decoder(width=16, layers=1, heads=2)", vocab_size=8)
  policy, moved = (model.init(jax.random.key(i)) for i in range(2))
  rows = jax.tree.map(lambda x: np.concatenate([x, x[:4]]), logged())
  rows = dataclasses.replace(rows, ref_logps=rows.ref_logps / 8)

  def stepped(mesh, **config):
    config = LearnerConfig(**config)
    learner = Learner("tdpo2(beta=1.0)", model, config, mesh)
    assert learner.has_frozen_weights
    learner._transforms = {"policy": optax.sgd(0.1)}
    state = learner.init(policy, seed=1)
    if config.lora is None:
      # Elsewhere than at the reference, where divergences have no slope.
      state = state.replace(
        params=jax.tree.map(jax.numpy.copy, {"policy": moved})
      )
    else:
      state = state.replace(
        params=jax.tree.map(lambda x: x + 0.1, state.params)
      )
    placed = jax.device_put(
      policy, sharding.state_shardings(mesh, policy, model.splits)
    )
    batch = sharding.put_batch(mesh, rows)
    state, metrics = learner.train_step(state, batch, placed)
    assert metrics["means"]["kl/rejected"][0] > 0
    return jax.device_get((metrics, state.params))

  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  for lora in (None, LoraConfig(rank=2)):
    want = stepped(sharding.one_device(), lora=lora)
    for mesh, options in (
      ({"tensor": 4}, {"logp_chunk": 1}),
      ({"fsdp": 2}, {"remat": "block", "microbatches": 2}),
    ):
      made = sharding.make_mesh(sharding.MeshConfig(**mesh))
      got = stepped(made, lora=lora, **options)
      jax.tree.map(close, got, want)


def two_families():
  """A decoder, its params, and a T5 with more tokens for its reference."""
  model = models.make("decoder(width=16, layers=1, heads=2)", vocab_size=8)
  other = models.make(
    "t5(width=8, layers=1, heads=2, head_dim=4)", vocab_size=12
  )
  policy = model.init(jax.random.key(0))
  scaled = jax.tree.map(lambda x: 2 * x, other.init(jax.random.key(1)))
  rows = logged()
  return model, policy, other, scaled, rows


def test_the_reference_may_be_of_another_family():
  model, policy, other, weights, rows = two_families()
  config = LearnerConfig(lora=LoraConfig(rank=2))
  learner = Learner(
    "tdpo2", model, config, sharding.one_device(), reference=other
  )
  state = learner.fresh(policy)
  args = (state.params, rows, policy, None)
  _, means = learner.evaluate(*args, weights)

  def log_probs(model, params):
    found = jax.jit(forward.hidden, static_argnums=0)(model, params, rows)
    logits = found.completions @ model.unembedding(params)
    logits = logits[..., :8]  # of both
    return np.asarray(jax.nn.log_softmax(logits), np.float64)

  own, ref = log_probs(model, policy), log_probs(other, weights)
  kls = (np.exp(ref) * (ref - own)).sum(-1)
  kls = np.where(rows.completion_mask, kls, 0).sum(-1)
  assert kls.min() > 0.01
  for k, name in enumerate(("kl/chosen", "kl/rejected")):
    summed, weight = means[name]
    np.testing.assert_allclose(summed, rows.weight @ kls[:, k], rtol=1e-5)
    assert weight == rows.weight.sum()
  with pytest.raises(UserError, match="give the reference's weights"):
    learner.evaluate(*args)


def test_a_step_beside_another_model_is_the_same_however_it_is_computed():
  """Beside a model that is wider, and has a token more."""
  rows, rng = logged(), np.random.default_rng(5)
  reference = {
    "embedding": jax.numpy.asarray(rng.normal(size=(V + 1, D + 2))),
    "head": jax.numpy.asarray(rng.normal(size=(D + 2, V + 1))),
  }
  plain = objective("tdpo2", reference_model=markov())
  params = params_for(plain)
  step = functools.partial(jax.jit, static_argnums=0)(
    lambda objective, rows: objective.grads(params, rows, reference)
  )
  counts = rows.weight > 0
  want, want_losses, want_means = step(plain, rows)
  cut = dataclasses.replace(plain, microbatches=3)
  for way in (
    (cut, rows),
    (dataclasses.replace(plain, logp_chunk=2), rows),
    (cut, packed(rows, 2, 3)),
  ):
    got, got_losses, got_means = step(*way)
    jax.tree.map(same, got, want)
    same(got_losses[counts], want_losses[counts])
    jax.tree.map(same, got_means, want_means)
  short = {
    "embedding": reference["embedding"][:V],
    "head": reference["head"][:, :V],
  }
  jax.tree.map(same, plain.grads(params, rows, short)[0], want)


def test_a_reference_that_moved_is_an_earlier_policy():
  """With adapters, earlier adapters: as if they were merged into a model."""
  model, policy, *_, rows = two_families()
  config = LearnerConfig(lora=LoraConfig(rank=2))
  learner = Learner("tdpo2", model, config, sharding.one_device())
  plain = Learner("tdpo2", model, None, sharding.one_device())
  state = learner.fresh(policy, 3)
  now, before = (
    jax.tree.map(lambda x, m=moved: x + m, state.params) for moved in (0.1, 0.3)
  )
  evaluate = learner.evaluate
  _, same = evaluate(now, rows, policy, None, now["policy"])
  assert not any(same[name][0] for name in ("kl/chosen", "kl/rejected"))
  _, got = evaluate(now, rows, policy, None, before["policy"])
  merged = [
    lora_lib.merge(config.lora, policy, each["policy"])
    for each in (now, before)
  ]
  _, want = plain.evaluate({"policy": merged[0]}, rows, policy, None, merged[1])
  assert want["kl/chosen"][0] > 0.1
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4), got, want
  )
  _, started = evaluate(now, rows, policy)
  assert abs(started["kl/chosen"][0] - got["kl/chosen"][0]) > 0.1


def test_a_loss_that_runs_no_reference_takes_no_model_of_one():
  with pytest.raises(UserError, match="runs no reference in its steps"):
    Learner("dpo", markov(), reference=markov())


def test_divergences_need_the_reference_as_a_model():
  tdpo, rows = objective("tdpo2"), logged()
  with pytest.raises(UserError, match="give the reference's weights as ref_p"):
    tdpo.losses(params_for(tdpo), rows, None)


def test_adapters_that_do_nothing_yet_change_no_loss():
  model = models.make("decoder(width=16, layers=1, heads=2)", vocab_size=7)
  policy, rows = model.init(jax.random.key(0)), logged()
  plain = Learner("ppo", model)
  lora = Learner("ppo", model, LearnerConfig(lora=LoraConfig(rank=2)))
  want, got = (
    learner.evaluate(learner.fresh(policy).params, rows, policy)
    for learner in (plain, lora)
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5), got, want
  )


def test_another_value_is_refused():
  with pytest.raises(UserError, match=r"takes the value of every token"):
    Learner("ppo", markov(), LearnerConfig(value=ValueConfig(per="example")))


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (
      {"behaviour_token_logps": None},
      r"needs behaviour_token_logps, which the batch lacks",
    ),
    (
      {"behaviour_token_logps": np.zeros((12, 2))},
      r"behaviour_token_logps must be of shape \[12, 2, 5\], not \[12, 2\]",
    ),
    (
      {"ref_token_logps": np.zeros((12, 2, 4))},
      r"ref_token_logps must be of shape \[12, 2, 5\]",
    ),
  ],
)
def test_a_batch_without_its_token_columns_is_refused(change, said):
  ppo = losses.get("ppo")
  check_batch(ppo, logged())
  with pytest.raises(UserError, match=said):
    check_batch(ppo, dataclasses.replace(logged(), **change))
