"""DRO-V, KTO, SFT and ORPO against closed forms, on any inputs."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from loss_inputs import B, betas, close, columns, few, sigmoid

from offalign import losses
from offalign.testing import evaluate
from offalign.types import Scores


@pytest.mark.parametrize("k", [1, 3])
@few
@given(st.data())
def test_dro_v_gradients_are_equations_7_and_8(k, data):
  logps, ref, rewards = (data.draw(columns(k)) for _ in range(3))
  values = data.draw(arrays(np.float64, (B,), elements=st.floats(-5, 5)))
  tau = data.draw(st.floats(0.05, 5.0))
  delta = rewards - values[:, None] - tau * (logps - ref)
  got = evaluate(
    f"dro_v(tau={tau})",
    logps=logps,
    ref_logps=ref,
    rewards=rewards,
    values=values,
  )
  close(got.values, 0.5 * (delta**2).mean(axis=1))
  close(got.grads["values"], -delta.mean(axis=1) / B)
  close(got.grads["logps"], -delta / (B * k))
  close(got.metrics["values/residual"], delta)
  close(got.metrics["values/mean"], np.repeat(values[:, None], k, axis=1))


def test_dro_v_takes_a_value_for_each_completion():
  rewards = np.array([[1.0, -1.0]])
  got = evaluate(
    "dro_v",
    logps=[[-1.0, -2.0]],
    ref_logps=[[-1.0, -2.0]],
    rewards=rewards,
    values=[[0.5, 0.25]],
  )
  close(got.grads["values"], -(rewards - [[0.5, 0.25]]) / 2)


labels_of = arrays(np.bool_, (B, 1))
weights = st.floats(0.1, 3.0)


@few
@given(
  columns(1), columns(1), labels_of, st.floats(-5, 5), betas, weights, weights
)
def test_kto_is_its_closed_form(logps, ref, labels, kl, beta, good, bad):
  z0 = max(kl, 0.0)
  u = np.where(labels, 1.0, -1.0) * beta * (logps - ref - z0)
  weight = np.where(labels, good, bad)
  got = evaluate(
    f"kto(beta={beta}, desirable_weight={good}, undesirable_weight={bad})",
    logps=logps,
    ref_logps=ref,
    labels=labels,
    kl=kl,
  )
  close(got.values, (weight * sigmoid(-u))[:, 0])
  slope = -weight * sigmoid(u) * sigmoid(-u) * np.where(labels, beta, -beta)
  close(got.grads["logps"], slope / B)
  close(got.metrics["kl"], np.full(B, z0))


@pytest.mark.parametrize("kl", [-2.0, 0.0, 2.0])
def test_kto_carries_no_gradient_through_kl(kl):
  loss = losses.get("kto")
  logps = jnp.array([[-3.0], [-4.0]])

  def mean(kl):
    scores = {
      "logps": logps,
      "ref_logps": logps - 0.5,
      "labels": jnp.array([[True], [True]]),
      "kl": kl,
    }
    return loss(Scores(scores)).values.sum()

  assert jax.grad(mean)(kl) == 0.0
  assert (mean(kl) == mean(0.0)) == (kl <= 0.0)


@few
@given(columns(1), columns(1), columns(1))
def test_kto_by_batch_labels_rewards_above_the_mean(logps, ref, rewards):
  table = {"logps": logps, "ref_logps": ref, "kl": 0.2}
  gap = rewards - rewards.mean()
  labels = gap > 0.0
  if (np.abs(gap) < 1e-9).any():  # a tie up to rounding
    return
  by_reward = evaluate("kto(threshold=batch)", **table, rewards=rewards)
  by_label = evaluate("kto", **table, labels=labels)
  close(by_reward.values, by_label.values)
  close(by_reward.grads["logps"], by_label.grads["logps"])
  for name in ("rewards/chosen", "rewards/rejected", "logps/chosen"):
    close(by_reward.metrics[name], by_label.metrics[name])


def test_kto_by_prompt_compares_within_the_prompt():
  rewards = np.array([[1.0, 2.0, 4.0], [9.0, 7.0, 8.0], [5.0, 5.0, 5.0]])
  labels = [[False, False, True], [True, False, False], [False] * 3]
  logps = np.linspace(-9.0, -1.0, 9).reshape(3, 3)
  table = {"logps": logps, "ref_logps": logps[::-1], "kl": 0.1}
  by_reward = evaluate("kto(threshold=prompt)", **table, rewards=rewards)
  by_label = evaluate("kto", **table, labels=labels)
  close(by_reward.values, by_label.values)
  close(by_reward.grads["logps"], by_label.grads["logps"])


@pytest.mark.parametrize("k", [6, 48])
def test_kto_by_prompt_calls_equal_rewards_undesirable(k):
  # Some of these numbers exceed the rounded mean of k of them.
  rewards = np.array([0.1, 0.3, 0.7, 1 / 3, 0.9])[:, None].repeat(k, axis=1)
  got = evaluate(
    "kto(threshold=prompt)",
    logps=np.zeros(rewards.shape),
    ref_logps=np.zeros(rewards.shape),
    rewards=rewards,
    kl=0.0,
  )
  assert np.isnan(got.metrics["rewards/chosen"]).all()


SINGLES = ["dro_v(tau=0.7)", "kto", "kto(threshold=batch)", "sft"]


@pytest.mark.parametrize("spec", [*SINGLES, "sft(on=desirable)"])
def test_k_completions_are_the_mean_of_single_ones(spec):
  rng = np.random.default_rng(0)
  k = 4
  table = {
    "logps": rng.normal(size=(B, k)) - 20.0,
    "ref_logps": rng.normal(size=(B, k)) - 20.0,
    "lengths": rng.integers(1, 9, (B, k)),
    "rewards": rng.normal(size=(B, k)),
    "labels": rng.permutation(np.arange(B * k) % 2 == 0).reshape(B, k),
  }
  values = rng.normal(size=(B, 1))
  flat = {name: x.reshape(B * k, 1) for name, x in table.items()}
  whole = evaluate(spec, **table, values=values, kl=0.3)
  single = evaluate(spec, **flat, values=values.repeat(k, axis=0), kl=0.3)
  close(whole.values, single.values.reshape(B, k).mean(axis=1))
  close(whole.grads["logps"], single.grads["logps"].reshape(B, k))
  if "values" in whole.grads:
    summed = single.grads["values"].reshape(B, k).sum(axis=1, keepdims=True)
    close(whole.grads["values"], summed)


def test_sft_on_desirable_is_the_token_mean_of_the_desirable():
  logps = np.array([[-3.0], [-5.0], [-7.0]])
  lengths = np.array([[2], [4], [6]])
  labels = np.array([[True], [False], [True]])
  got = evaluate(
    "sft(on=desirable)", logps=logps, lengths=lengths, labels=labels
  )
  close(got.values.mean(), (3.0 + 7.0) / (2 + 6))
  close(got.grads["logps"], np.where(labels, -1.0 / 8.0, 0.0))


def test_sft_on_desirable_with_none_is_zero():
  got = evaluate(
    "sft(on=desirable)", logps=[[-3.0]], lengths=[[2]], labels=[[False]]
  )
  assert got.values.tolist() == [0.0]
  assert got.grads["logps"].tolist() == [[0.0]]


@few
@given(columns(2, -30.0, -1e-6), st.floats(0.05, 2.0), st.floats(0.0, 2.0))
def test_orpo_is_its_closed_form(logps, beta, sft_weight):
  lengths = np.array([[1, 2], [3, 1], [2, 2]])
  a = logps / lengths
  log_odds = a - np.log(-np.expm1(a))
  gap = log_odds[:, 0] - log_odds[:, 1]
  got = evaluate(
    f"orpo(beta={beta}, sft_weight={sft_weight})",
    logps=logps,
    lengths=lengths,
  )
  want = beta * np.logaddexp(0.0, -gap) - sft_weight * a[:, 0]
  close(got.values, want, rtol=1e-7)
  # d log odds / d a = 1 / (1 - e^a)
  slope = -beta * sigmoid(-gap)[:, None] / -np.expm1(a) * [1.0, -1.0]
  slope[:, 0] -= sft_weight
  close(got.grads["logps"], slope / lengths / B, rtol=1e-7)
