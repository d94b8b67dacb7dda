"""Columns made of tokens, rewards of completions, and whole-batch losses."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from sequences import B, T, batch, markov, plain_logps, weights

from offalign import losses
from offalign.learner.columns import batch_statistics
from offalign.learner.objective import Objective
from offalign.learner.value import ValueConfig, init
from offalign.training.metrics import finish
from offalign.types import Scores


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def objective(spec, per="completion", **options):
  loss = losses.get(spec)
  value = ValueConfig(per=per) if "values" in loss.needs else None
  return Objective(loss, markov(), value, **options)


def params_for(objective):
  policy = weights(0)
  if objective.value is None:
    return {"policy": policy}
  value = init(objective.value, objective.model, policy)
  head = {"kernel": np.cos(np.arange(4.0)), "bias": np.asarray(0.3)}
  return {"policy": policy, "value": {**value, "head": head}}


def test_a_row_alone_has_no_mismatched_completion():
  rows, policy = batch(), weights(0)
  kto = objective("kto")
  for count, is_zero in ((2, False), (1, True)):
    weight = (np.arange(B) < count).astype(float)
    some = dataclasses.replace(rows, weight=weight)
    _, means = kto.losses({"policy": policy}, some, policy)
    assert means["kl"][1] == count
    columns = kto._columns({"policy": policy}, some, weights(1), None)
    assert (columns["kl"] == 0) == is_zero


def shared(mask):
  """The mask up to the length of the row's shortest completion."""
  return mask & (np.arange(T) < mask.sum(-1).min(axis=1)[:, None, None])


def test_prefixes_are_as_long_as_the_shortest_completion():
  rows, policy, reference = batch(), weights(0), weights(1)
  assert (rows.completion_mask != shared(rows.completion_mask)).any()
  want = losses.get("ld_dpo(alpha=0.3)")(
    Scores(
      {
        "logps": plain_logps(
          policy, rows.prompts, rows.completions, rows.completion_mask
        ),
        "ref_logps": rows.ref_logps,
        "prefix_logps": plain_logps(
          policy, rows.prompts, rows.completions, shared(rows.completion_mask)
        ),
        "ref_prefix_logps": plain_logps(
          reference,
          rows.prompts,
          rows.completions,
          shared(rows.completion_mask),
        ),
      }
    )
  ).values
  for microbatches in (1, 3):
    cut = objective("ld_dpo(alpha=0.3)", microbatches=microbatches)
    got, _ = cut.losses({"policy": policy}, rows, reference)
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("chunk", [2, 128])
def test_weights_are_token_probabilities_over_collisions(chunk):
  rows, policy = batch(), weights(0)
  table = np.asarray(policy["embedding"] @ policy["head"])
  table = np.exp(table - np.log(np.exp(table).sum(-1, keepdims=True)))
  want = np.ones(B)
  for b, k in np.ndindex(B, 2):
    tokens = rows.completions[b, k][rows.completion_mask[b, k]]
    before = [rows.prompts[b, -1], *tokens[:-1]]
    fit = [
      table[p, y] / (table[p] ** 2).sum()
      for p, y in zip(before, tokens, strict=False)
    ]
    want[b] *= np.prod(fit) ** (1 / len(fit))
  _, means = objective("wpo", logp_chunk=chunk).losses(
    {"policy": policy}, rows, None
  )
  assert finish({"means": means})["weight"] == pytest.approx(
    np.average(want, weights=rows.weight), rel=1e-10
  )


def test_a_reward_is_read_before_the_last_token():
  rows, model = batch(), objective("bradley_terry")
  params = params_for(model)
  head, trunk = params["value"]["head"], params["value"]["trunk"]["embedding"]
  rewards = np.zeros((B, 2))
  for b, k in np.ndindex(B, 2):
    seen = [rows.prompts[b, -1], *rows.completions[b, k]]
    last = seen[rows.completion_mask[b, k].sum() - 1]
    rewards[b, k] = trunk[last] @ head["kernel"] + head["bias"]
  got, means = model.losses(params, rows, None)
  want = np.log1p(np.exp(rewards[:, 1] - rewards[:, 0]))
  np.testing.assert_allclose(got, want, rtol=1e-10)
  logged = finish({"means": means})
  for k, name in enumerate(("rewards/chosen", "rewards/rejected")):
    mean = np.average(rewards[:, k], weights=rows.weight)
    assert logged[name] == pytest.approx(mean, rel=1e-10)


SPECS = ("aot", "ld_dpo", "wpo", "bradley_terry", "bco", "dpo + 0.5*bco")


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_do_not_depend_on_the_microbatches(spec):
  rows, reference = batch(), weights(1)
  rows.labels[:, 0], rows.labels[:, 1] = True, False
  whole = objective(spec)
  params = params_for(whole)
  state = whole.next_state(params, rows, reference, whole.loss.init_state())

  def mean(params):
    row_losses = whole.losses(params, rows, reference, state)[0]
    return (rows.weight * row_losses).sum() / rows.weight.sum()

  want = jax.grad(mean)(params)
  assert any(np.any(leaf) for leaf in jax.tree.leaves(want))
  near = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
  for microbatches in (1, 3):
    cut = dataclasses.replace(whole, microbatches=microbatches)
    own = cut.next_state(params, rows, reference, whole.loss.init_state())
    jax.tree.map(near, own, state)
    got, _, _ = jax.jit(cut.grads)(params, rows, reference, own)
    jax.tree.map(near, got, want)


@pytest.mark.parametrize("reward", [0.1, 0.7, -7.7, 1e-3, 123.4])
def test_the_mean_of_equal_rewards_is_that_reward(reward):
  """Rewards are compared with it, so no rounding may tip one."""
  rewards = np.full((12, 3), reward, np.float32)
  weight = np.linspace(0.1, 3.0, 12, dtype=np.float32)
  # What stands in rows without weight has no say.
  weight[4], rewards[4] = 0.0, -1e4
  weight[7], rewards[7] = 0.0, np.nan
  found = batch_statistics(
    ("reward_mean",),
    weight=weight,
    lengths=rewards,
    rewards=rewards,
    labels=None,
  )
  assert found["reward_mean"] == np.float32(reward)
