"""A second source in one step: each mean is over its own rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from sequences import batch, objective, packed, params_for, plain_logps, weights

from offalign import losses
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.learner.ptx import Ptx

# A loss of rows, one with V, one that mixes rows, one with a batch statistic.
SPECS = ("dpo", "dro_v", "rloo", "kto(threshold=batch)")
COEF = 0.7
TERM = Ptx(COEF, losses.get("sft"))
same = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def rows(spec):
  found = losses.get(spec)
  return batch(k={"single": 1}.get(found.kind.value, 2))


def demonstrations():
  """Other rows, half as many, without any column of feedback."""
  found = batch(k=1, seed=5)
  bare = dataclasses.replace(found, rewards=None, labels=None, ref_logps=None)
  return jax.tree.map(lambda x: x[::2], bare)


def summed(spec, microbatches=1, packs=False):
  of = objective(spec, microbatches=microbatches)
  own, more = rows(spec), demonstrations()
  if packs:
    own = packed(own, 1, microbatches)
  grads, _, means = of.grads(params_for(of), own, weights(1))
  return TERM.onto(of, params_for(of), more, grads, means)


whole = functools.cache(summed)


@pytest.mark.parametrize("spec", SPECS)
def test_a_step_goes_down_the_sum_of_both_means(spec):
  of, more = objective(spec), demonstrations()
  params = params_for(of)
  first, _, before = of.grads(params, rows(spec), weights(1))
  lengths = more.completion_mask.sum((1, 2))

  def nll(policy):
    """The mean over all tokens of the demonstrations, by a loop."""
    table = jax.nn.log_softmax(policy["embedding"] @ policy["head"])
    total = 0.0
    for b in range(len(lengths)):
      last = more.prompts[b, -1]
      for token in more.completions[b, 0, : lengths[b]]:
        total -= more.weight[b] * table[last, token]
        last = token
    return total / (more.weight * lengths).sum()

  expected, gradient = jax.value_and_grad(nll)(params["policy"])
  grads, means = whole(spec)
  for name, leaf in gradient.items():
    same(grads["policy"][name], first["policy"][name] + COEF * leaf)
  if "value" in first:
    jax.tree.map(same, grads["value"], first["value"])
  loss = before["loss"][0] / before["loss"][1]
  same(means["ptx/loss"][0] / means["ptx/loss"][1], expected)
  same(means["loss"][0] / means["loss"][1], loss + COEF * expected)
  by_loop = -plain_logps(
    params["policy"], more.prompts, more.completions, more.completion_mask
  )[:, 0]
  same(expected, (more.weight * by_loop).sum() / (more.weight * lengths).sum())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("cut", "packs"), [(2, False), (3, False), (2, True)])
def test_microbatches_and_packing_change_nothing(spec, cut, packs):
  expected, means = whole(spec)
  grads, found = summed(spec, cut, packs)
  jax.tree.map(same, grads, expected)
  for name in ("loss", "ptx/loss"):
    same(found[name][0], means[name][0])


def test_rows_of_no_weight_do_not_count():
  of, more = objective("dpo"), demonstrations()
  params, own = params_for(of), rows("dpo")
  grads, _, means = of.grads(params, own, None)
  expected, _ = TERM.onto(of, params, more, grads, means)
  weight = np.asarray(more.weight)
  assert (weight == 0).any()
  other = np.where((weight == 0)[:, None, None], 0, more.completions)
  changed = dataclasses.replace(more, completions=other)
  found, _ = TERM.onto(of, params, changed, grads, means)
  jax.tree.map(same, found, expected)


def test_a_learner_takes_demonstrations_where_it_has_the_term():
  with jax.enable_x64(False):
    model, reference, policy = worlds.table()
    more = dataclasses.replace(
      worlds.batch("sft", size=8), rewards=None, labels=None, ref_logps=None
    )
    batch = worlds.batch("dpo")
    learner = Learner("dpo", model, LearnerConfig(ptx=0.5))
    state, metrics = learner.train_step(
      learner.init(policy), batch, reference, more
    )
    _, plain = Learner("dpo", model).train_step(learner.init(policy), batch)
    means = {k: float(a / b) for k, (a, b) in metrics["means"].items()}
    alone = float(np.divide(*plain["means"]["loss"]))
    assert means["loss"] == pytest.approx(alone + 0.5 * means["ptx/loss"])
    assert jnp.isfinite(state.params["policy"]["table"]).all()
    with pytest.raises(UserError, match="a step takes demonstrations"):
      learner.step(state, batch)
    with pytest.raises(UserError, match="they would count for nothing"):
      Learner("dpo", model).step(state, batch, None, more)
  with pytest.raises(UserError, match="trains a reward model, which imitates"):
    Learner("bradley_terry", model, LearnerConfig(ptx=0.5))
  with pytest.raises(UserError, match="must be above 0, not 0"):
    LearnerConfig(ptx=0.0)
