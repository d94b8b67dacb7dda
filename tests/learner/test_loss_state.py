"""What a loss remembers: kept, checkpointed, and the same however it is cut."""

import functools

import chex
import jax
import numpy as np
import pytest
import worlds

from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.policy.checkpoint import Checkpoints
from offalign.training.metrics import finish

near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)


def train(steps, state=None, start=0, devices=1, **config):
  """Steps of BCO on batches that change; returns the state and losses."""
  model, _, policy = worlds.table()
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  learner = Learner("bco(beta=0.5)", model, LearnerConfig(**config), mesh)
  state = learner.init(policy) if state is None else state
  logged = []
  for step in range(start, start + steps):
    rows = worlds.batch("bco", seed=step)
    placed = sharding.put_batch(mesh, rows)
    state, metrics = learner.train_step(state, placed)
    logged.append(finish(metrics))
  return learner, jax.device_get(state), logged


def test_the_shift_is_the_mean_of_all_rewards_so_far():
  _, state, logged = train(3)
  loss_state = state.loss_state
  seen = sum(
    float(worlds.batch("bco", seed=step).weight.sum()) for step in range(3)
  )
  k = worlds.batch("bco").completions.shape[1]
  assert loss_state["desirable_n"] + loss_state["undesirable_n"] == (
    pytest.approx(seen * k)
  )
  assert len({line["delta"] for line in logged}) == 3


def test_neither_accumulation_nor_the_mesh_changes_it():
  _, whole, _ = train(3)
  for how in ({"microbatches": 3}, {"devices": 4}):
    _, other, _ = train(3, **how)
    jax.tree.map(near, other.loss_state, whole.loss_state)
    jax.tree.map(near, other.params, whole.params)


def test_a_run_that_was_cut_goes_on_with_it(tmp_path):
  _, whole, logged = train(4)
  learner, half, _ = train(2)
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(half, {})
  with Checkpoints(tmp_path) as checkpoints:
    again = checkpoints.restore(learner.init(worlds.table()[2]))
  chex.assert_trees_all_equal(jax.device_get(again.loss_state), half.loss_state)
  _, end, rest = train(2, again, start=2)
  chex.assert_trees_all_equal(end, whole)
  assert rest == logged[2:]


def test_evaluation_reads_it_and_leaves_it():
  learner, state, _ = train(2)
  rows = worlds.batch("bco", seed=9)
  placed = sharding.put_batch(learner.mesh, rows)
  fresh = learner.loss.init_state()
  found = [
    finish({"means": learner.evaluate(state.params, placed, None, s)[1]})
    for s in (state.loss_state, fresh)
  ]
  assert found[0]["delta"] != 0.0
  assert found[1]["delta"] == 0.0
  assert found[0]["loss"] != found[1]["loss"]
