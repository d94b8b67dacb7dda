"""Losses and gradients against closed forms, on any inputs."""

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from offalign import losses
from offalign.losses.gpo import FAMILY
from offalign.testing import evaluate
from offalign.types import Scores

B = 3
RTOL, ATOL = 1e-9, 1e-11

few = settings(max_examples=25)
betas = st.floats(0.01, 10.0)


def columns(k, low=-10.0, high=10.0):
  return arrays(np.float64, (B, k), elements=st.floats(low, high))


def sigmoid(x):
  return 0.5 * (1.0 + np.tanh(0.5 * x))


def close(got, want, rtol=RTOL, atol=ATOL):
  np.testing.assert_allclose(got, want, rtol, atol)


DERIVATIVES = {
  "dpo": lambda z: -sigmoid(-z),
  "slic": lambda z: np.where(z < 1.0, -1.0, 0.0),
  "gpo_squared": lambda z: 2.0 * (z - 1.0),
  "gpo_exponential": lambda z: -np.exp(-z),
  "gpo_truncated_quadratic": lambda z: np.where(z < 1, 2.0 * (z - 1.0), 0.0),
  "gpo_savage": lambda z: -2.0 * sigmoid(-z) ** 2 * sigmoid(z),
}


def test_the_table_of_derivatives_covers_the_family():
  assert DERIVATIVES.keys() == FAMILY.keys()


@pytest.mark.parametrize("name", FAMILY)
@few
@given(columns(2), columns(2), betas)
def test_gpo_gradient_is_beta_times_the_derivative(name, logps, ref, beta):
  z = beta * ((logps - ref)[:, 0] - (logps - ref)[:, 1])
  slope = beta * DERIVATIVES[name](z) / B
  at_kink = np.abs(z - 1.0) < 1e-9
  got = evaluate(f"{name}(beta={beta})", logps=logps, ref_logps=ref)
  grad = got.grads["logps"]
  close(grad[~at_kink, 0], slope[~at_kink])
  close(grad[:, 1], -grad[:, 0])


@pytest.mark.parametrize("name", FAMILY)
def test_gpo_functions_are_convex_or_bounded(name):
  with jax.enable_x64(True):
    z = jnp.linspace(-900.0, 600.0, 6001)  # e^-709 is no normal float
    f = np.asarray(FAMILY[name].f(z))
  assert np.isfinite(f).all()
  if name == "gpo_savage":  # the one that is not convex: it is bounded
    assert ((f >= 0.0) & (f <= 1.0)).all()
  else:
    bend = f[2:] - 2.0 * f[1:-1] + f[:-2]
    assert (bend >= -1e-9 * np.abs(f[1:-1])).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gpo_exponential_goes_on_as_its_tangent(dtype):
  f = FAMILY["gpo_exponential"].f
  bound = math.log(float(np.finfo(dtype).max)) - 8.0
  with jax.enable_x64(dtype is np.float64):
    # Points around the bound, the same on both sides of it.
    z = jnp.asarray(-bound + np.array([-20.0, -1e-3, 1e-3, 2.0, 60.0]), dtype)
    value, slope = np.asarray(f(z)), np.asarray(jax.vmap(jax.grad(f))(z))
  top = math.exp(bound)
  assert np.isfinite(value).all()
  assert np.isfinite(slope).all()
  # Beyond the bound: the tangent there.
  close(value[:2] / top, [21.0, 1.001], rtol=1e-4)
  close(slope[:2] / top, [-1.0, -1.0], rtol=1e-4)
  # Within it: the exponential itself.
  close(value[2:] / top, np.exp([-1e-3, -2.0, -60.0]), rtol=1e-4, atol=0)
  close(slope[2:], -value[2:], rtol=1e-6)


@few
@given(columns(2), columns(2), st.floats(0.05, 5.0))
def test_gpo_squared_is_ipo_scaled(logps, ref, tau):
  table = {"logps": logps, "ref_logps": ref}
  ipo = evaluate(f"ipo(tau={tau})", **table)
  squared = evaluate(f"gpo_squared(beta={2 * tau})", **table)
  scale = 4.0 * tau**2
  close(squared.values, scale * ipo.values, atol=1e-9)
  close(squared.grads["logps"], scale * ipo.grads["logps"], atol=1e-9)


@few
@given(
  columns(2),
  columns(2),
  arrays(np.int64, (B, 2), elements=st.integers(1, 50)),
  st.floats(0.05, 5.0),
)
def test_ipo_normalised_divides_each_log_ratio(logps, ref, lengths, tau):
  rho = (logps - ref) / lengths
  gap = rho[:, 0] - rho[:, 1] - 1.0 / (2.0 * tau)
  got = evaluate(
    f"ipo(tau={tau}, length_normalized=True)",
    logps=logps,
    ref_logps=ref,
    lengths=lengths,
  )
  close(got.values, gap**2)
  sign = np.array([1.0, -1.0])
  close(got.grads["logps"], 2.0 * gap[:, None] * sign / lengths / B)


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
