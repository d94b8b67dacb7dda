"""What a step leaves behind: where the state is, and what is logged."""

import jax
import numpy as np
import pytest
import worlds

from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.training.metrics import NonFinite, check_finite, finish


@pytest.mark.parametrize("config", [{}, {"fsdp": 4}], ids=str)
def test_a_step_compiles_once_and_leaves_the_state_where_it_was(
  config, monkeypatch
):
  monkeypatch.setattr(sharding, "SMALL", 1)
  compiled = []

  def listen(event, *_, **__):
    if event.endswith("backend_compile_duration"):
      compiled.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  model, reference, policy = worlds.table()
  mesh = sharding.make_mesh(sharding.MeshConfig(**config))
  learner = Learner("kto", model, LearnerConfig(microbatches=3), mesh)
  state = learner.init(policy)
  batch = sharding.put_batch(mesh, worlds.batch("kto"))
  state, _ = learner.train_step(state, batch, reference)
  assert compiled
  compiled.clear()
  for _ in range(2):
    state, _ = learner.train_step(state, batch, reference)
  jax.monitoring.unregister_event_duration_listener(listen)
  assert not compiled
  placed = jax.tree.map(
    lambda x, s: x.sharding.is_equivalent_to(s, x.ndim),
    state,
    learner.shardings(policy),
  )
  assert all(jax.tree.leaves(placed))
  assert int(state.step) == 3
  table = state.params["policy"]["table"]
  assert table.sharding.is_fully_replicated == (not config)


def test_the_first_state_is_a_copy_that_a_step_may_consume():
  model, _, policy = worlds.table()
  learner = Learner("dro_v", model)
  before = jax.device_get(policy)
  state = learner.fresh(policy)
  trunk = state.params["value"]["trunk"]["table"]
  np.testing.assert_array_equal(trunk, before["table"])
  assert trunk is not policy["table"]
  learner.train_step(state, worlds.batch("dro_v"))
  assert state.params["policy"]["table"].is_deleted()
  np.testing.assert_array_equal(policy["table"], before["table"])


def test_the_configuration_reaches_the_objective():
  options = {"microbatches": 3, "compute_dtype": "bfloat16", "logp_chunk": 7}
  learner = Learner("sft", worlds.table()[0], LearnerConfig(**options))
  for name, value in options.items():
    assert getattr(learner._objective, name) == value


def test_the_norms_are_those_of_the_gradients_and_the_rate_is_the_schedules():
  model, _, policy = worlds.table()
  batch = worlds.batch("dro_v")
  schedule = OptimizerConfig(
    learning_rate=0.5, warmup_steps=4, schedule="cosine"
  )
  learner = Learner("dro_v", model, LearnerConfig(optimizer=schedule, steps=10))
  state = learner.fresh(policy)
  grads, _, _ = learner._objective.grads(state.params, batch, None)
  _, metrics = learner.step(state, batch)
  logged = finish(metrics)
  for name, key in (("policy", "grad_norm"), ("value", "grad_norm/value")):
    squares = [np.sum(np.square(g)) for g in jax.tree.leaves(grads[name])]
    assert logged[key] == pytest.approx(np.sqrt(sum(squares)), rel=1e-5)
  rates = [learner.learning_rate(step) for step in (0, 3, 4, 7, 10)]
  assert rates == pytest.approx([0.125, 0.5, 0.5, 0.25, 0.0])


def test_finish_leaves_out_what_applied_to_no_row():
  means = {
    "loss": (3.0, 2.0),
    "rewards/chosen": (0.0, 0.0),
    "rewards/rejected": (1.0, 4.0),
  }
  assert finish({"means": means}) == {"loss": 1.5, "rewards/rejected": 0.25}
  means["rewards/chosen"], means["rewards/margins"] = (3.0, 4.0), (9.0, 1.0)
  assert finish({"means": means})["rewards/margins"] == 9.0
  del means["rewards/margins"]
  assert finish({"means": means})["rewards/margins"] == 0.5


def test_a_gradient_that_is_not_finite_stops_the_run_too():
  rows = [f"row {i}" for i in range(10)]
  metrics = {"losses": np.zeros(10), "grad_norm": np.float32(1.0)}
  check_finite(3, metrics, rows)
  for name in ("grad_norm", "grad_norm/value"):
    bad = {**metrics, name: np.float32(np.inf)}
    with pytest.raises(NonFinite, match=r"3: the gradient .*row 7 and oth"):
      check_finite(3, bad, rows)
