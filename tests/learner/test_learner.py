"""The learner: one step for every loss, whatever the batch is cut into."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from offalign.data.batches.batch import next_valid
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.losses import registry
from offalign.training.metrics import NonFinite, check_finite, finish
from offalign.types import Kind

OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup_steps=0)
VALUES = [
  ValueConfig(network, per)
  for network, per in itertools.product(
    ("separate", "shared"), ("example", "batch", "token")
  )
]


CASES = worlds.one_of_each_kind_and_needs()


def run(spec, batch, *, mesh=None, steps=3, **config):
  """The state, metrics and losses after some steps.

  Of plain gradient descent: where a gradient is 0 but for rounding (a loss
  of groups on completions that it did not see), Adam would make it a step.
  """
  model, reference, policy = worlds.table()
  mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
  learner = Learner(
    spec, model, LearnerConfig(optimizer=OPTIMIZER, **config), mesh
  )
  learner._transforms = {k: optax.sgd(0.1) for k in learner._transforms}
  learner.check_batch(batch)
  state = learner.init(policy)
  batch = sharding.put_batch(mesh, batch)
  ref = reference if learner.needs_reference_weights else None
  for _ in range(steps):
    state, metrics = learner.train_step(state, batch, ref)
  return jax.device_get((state.params, finish(metrics), metrics["losses"]))


@functools.cache
def plain(spec):
  """What the others are compared with: one batch on one device."""
  return run(spec, worlds.batch(spec))


@pytest.mark.parametrize("spec", CASES)
def test_microbatches_change_nothing(spec):
  whole = plain(spec)
  cut = run(spec, worlds.batch(spec), microbatches=4)
  chex.assert_trees_all_close(whole, cut, rtol=2e-5, atol=2e-6)
  assert np.isfinite(whole[1]["loss"])


@pytest.mark.parametrize("spec", CASES)
@pytest.mark.parametrize("fsdp", [1, 4])
def test_mesh_shape_changes_nothing(spec, fsdp, monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)
  mesh = sharding.make_mesh(sharding.MeshConfig(fsdp=fsdp))
  assert mesh.size == 8
  split = run(spec, worlds.batch(spec), mesh=mesh)
  chex.assert_trees_all_close(plain(spec), split, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("config", VALUES, ids=lambda v: f"{v.network}-{v.per}")
def test_every_value_function_survives_accumulation(config):
  batch = worlds.batch("dro_v")
  whole = run("dro_v", batch, value=config)
  cut = run("dro_v", batch, value=config, microbatches=4)
  chex.assert_trees_all_close(whole, cut, rtol=2e-5, atol=2e-6)
  kernel = whole[0]["value"]["head"]["kernel"]
  assert np.abs(kernel).max() > 0
  assert ("trunk" in whole[0]["value"]) == (config.network == "separate")


def test_a_whole_batch_loss_sees_the_whole_batch(monkeypatch):
  monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

  @registry.register(
    "sorted_pairs",
    kind=Kind.PAIR,
    needs=("ref_logps",),
    whole_batch=True,
    paper="-",
    when="-",
    formula="-",
  )
  def sorted_pairs(scores):
    rho = scores.log_ratios
    gap = jnp.sort(rho[:, 0]) - jnp.sort(rho[:, 1])
    return jax.nn.softplus(-gap)

  batch = worlds.batch("sorted_pairs", padding=0)
  whole = run("sorted_pairs", batch)
  cut = run("sorted_pairs", batch, microbatches=4)
  chex.assert_trees_all_close(whole, cut, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("spec", ["dro_v", "dpo", "kto", "sft"])
def test_rows_without_weight_are_inert(spec):
  batch = worlds.batch(spec, size=24, padding=8)
  cut = jax.tree.map(lambda x: x[:16], batch)
  params, metrics, row_losses = run(spec, batch)
  params_cut, metrics_cut, losses_cut = run(spec, cut)
  chex.assert_trees_all_close(params, params_cut, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(metrics, metrics_cut, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(row_losses[:16], losses_cut, rtol=1e-5)


def test_dro_v_takes_the_papers_step():
  """SGD through the learner against equations 7 and 8 by hand."""
  model, reference, policy = worlds.table()
  batch = worlds.batch("dro_v", padding=0)
  learner = Learner("dro_v(tau=0.5)", model, LearnerConfig(optimizer=OPTIMIZER))
  learner._transforms = {k: optax.sgd(1.0) for k in ("policy", "value")}
  state, _ = learner.step(learner.fresh(policy), batch)
  x, y = batch.prompts[:, 0], batch.completions[:, 0, 0]
  logps = np.asarray(jax.nn.log_softmax(policy["table"]))
  rho = logps[x, y] - np.asarray(reference["table"])[x, y]
  delta = batch.rewards[:, 0] - 0.0 - 0.5 * rho
  move = np.zeros_like(logps)
  value = np.zeros(worlds.X)
  for i in range(len(x)):
    move[x[i]] += delta[i] * (np.eye(worlds.Y)[y[i]] - np.exp(logps[x[i]]))
    value[x[i]] += delta[i]
  got = state.params["policy"]["table"] - policy["table"]
  np.testing.assert_allclose(got, move / len(x), atol=1e-6)
  kernel = state.params["value"]["head"]["kernel"]
  np.testing.assert_allclose(kernel, value / len(x), atol=1e-6)


def test_the_reference_stays_what_it_was():
  model, reference, policy = worlds.table()
  before = jax.device_get((reference, policy))
  run("kto", worlds.batch("kto"))
  learner = Learner("kto", model, LearnerConfig(optimizer=OPTIMIZER))
  state = learner.init(policy)
  learner.train_step(state, worlds.batch("kto"), policy)
  chex.assert_trees_all_equal(before, jax.device_get((reference, policy)))


def test_mixed_precision_keeps_params_in_float32():
  batch = worlds.batch("dro_v")
  params, metrics, _ = run("dro_v", batch, compute_dtype="bfloat16")
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("f4")}
  assert metrics["loss"] == pytest.approx(
    run("dro_v", batch)[1]["loss"], rel=0.02
  )


@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_mismatched_rows_are_a_derangement(valid):
  weight = np.asarray(valid, np.float32)
  nxt = np.asarray(next_valid(jnp.asarray(weight)))
  rows = np.flatnonzero(weight)
  assert sorted(nxt[rows]) == sorted(rows)
  if len(rows) >= 2:
    assert (nxt[rows] != rows).all()


def test_a_loss_that_is_not_finite_names_step_and_rows():
  model, _, policy = worlds.table()
  batch = worlds.batch("dro_v", size=4, padding=0)
  batch.rewards[2] = np.inf
  learner = Learner("dro_v", model, LearnerConfig(optimizer=OPTIMIZER))
  _, metrics = learner.step(learner.fresh(policy), batch)
  with pytest.raises(NonFinite, match=r"step 7: .*logs\.jsonl:2"):
    check_finite(7, metrics, [f"logs.jsonl:{i}" for i in range(4)])


@pytest.mark.parametrize(
  ("spec", "change", "sentence"),
  [
    ("dro_v", {"rewards": None}, "needs rewards, which the batch lacks"),
    ("dpo", {"ref_logps": None}, "needs ref_logps"),
    ("kto", {"labels": None}, "needs labels"),
    ("kto", {"size": 1}, "batch size of 2 or more"),
    ("kto(threshold=prompt)", {"k": 1}, "give it groups"),
    ("dpo", {"k": 1}, "takes pairs"),
    ("dro_v", {"size": 3}, "multiple of 2"),
  ],
)
def test_what_cannot_be_supplied_is_refused(spec, change, sentence):
  change = dict(change)
  model, _, _ = worlds.table()
  size, k = change.pop("size", 24), change.pop("k", None)
  batch = worlds.batch(spec, size=size, padding=0)
  if k is not None:
    batch = dataclasses.replace(
      batch,
      completions=batch.completions[:, :k],
      completion_mask=batch.completion_mask[:, :k],
    )
  micro = 2 if size == 3 else 1
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  learner = Learner(spec, model, LearnerConfig(microbatches=micro), mesh)
  with pytest.raises(UserError, match=sentence):
    learner.check_batch(dataclasses.replace(batch, **change))


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"value": ValueConfig()}, r"value\.\* options are set"),
    ({"optimizer": OptimizerConfig(value_learning_rate=1e-3)}, "no value"),
    (
      {"optimizer": OptimizerConfig(name="adafactor", weight_decay=0.1)},
      "no effect with adafactor",
    ),
  ],
)
def test_options_without_effect_are_refused(config, sentence):
  model, _, _ = worlds.table()
  with pytest.raises(UserError, match=sentence):
    Learner("dpo", model, LearnerConfig(**config))


def test_a_mesh_that_does_not_fit_is_refused():
  with pytest.raises(UserError, match="does not fit 8 device"):
    sharding.make_mesh(sharding.MeshConfig(data=3))


def test_value_has_a_learning_rate_of_its_own():
  batch = worlds.batch("dro_v")
  frozen = dataclasses.replace(OPTIMIZER, value_learning_rate=0.0)
  model, _, policy = worlds.table()
  learner = Learner("dro_v", model, LearnerConfig(optimizer=frozen))
  state, _ = learner.step(learner.fresh(policy), batch)
  assert not np.asarray(state.params["value"]["head"]["kernel"]).any()
  assert np.abs(state.params["policy"]["table"] - policy["table"]).max() > 0
