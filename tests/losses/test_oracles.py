"""Group losses and UNA against oracles, and the relations between losses."""

import jax.numpy as jnp
import numpy as np
import pytest
from loss_inputs import close
from oracles import ORACLES, SPECS

from offalign import losses
from offalign.errors import UserError
from offalign.testing import evaluate


def table(k, seed=0, b=4):
  rng = np.random.default_rng(seed)
  shape = (b, k)
  lengths = rng.integers(3, 9, shape)
  ref = -lengths * rng.uniform(0.5, 1.5, shape)
  rewards = np.round(rng.normal(size=shape), 1)
  rewards[0] = rewards[0, 0]  # a prompt whose completions all tie
  rewards[1, 1] = rewards[1, 0]
  return {
    "logps": ref + rng.normal(scale=0.6, size=shape),
    "ref_logps": ref,
    "behaviour_logps": ref + rng.normal(scale=0.3, size=shape),
    "lengths": lengths,
    "rewards": rewards,
    "labels": rng.random(shape) < 0.5,
    "values": rng.normal(size=(b, 1)),
  }


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("k", [2, 5])
def test_losses_and_gradients_are_the_oracles(spec, k):
  loss = losses.get(spec)
  columns = table(k)
  want, grad = ORACLES[loss.name](columns, **loss.options)
  got = evaluate(spec, **columns)
  close(got.values, want)
  close(got.grads["logps"], grad)


def test_a_ranking_of_two_is_dpo():
  columns = table(2, seed=3)
  columns["rewards"] = np.array([[1.0, 0.0]] * 4)
  ranked, dpo = (evaluate(s, **columns) for s in ("pl_dpo", "dpo"))
  close(ranked.values, dpo.values)
  close(ranked.grads["logps"], dpo.grads["logps"])


def test_una_on_pairs_is_dpo():
  columns = table(2, seed=3)
  una, dpo = (evaluate(s, **columns) for s in ("una(feedback=pair)", "dpo"))
  close(una.values, dpo.values)
  close(una.grads["logps"], dpo.grads["logps"])


def test_leave_one_out_is_dro_without_its_value():
  columns = table(4, seed=5)
  rloo, dro = (
    evaluate(f"{s}=0.3)", **columns).grads["logps"]
    for s in ("rloo(beta", "dro_group(tau")
  )
  close(rloo, dro * 4 / 3)


def test_group_losses_forget_a_prompts_own_offset():
  columns = table(3, seed=6)
  moved = {**columns, "rewards": columns["rewards"] + [[1], [-5], [9], [0]]}
  for spec in ("dro_group", "rloo", "grpo", "pl_dpo", "rpo", "a_star_po"):
    one, other = evaluate(spec, **columns), evaluate(spec, **moved)
    close(one.grads["logps"], other.grads["logps"], atol=1e-9)


def test_clipping_is_counted():
  ref = np.full((1, 3), -5.0)
  columns = {"ref_logps": ref, "rewards": [[1.0, -2.0, 1.0]]}
  logps = ref + np.array([[1.0, -1.0, 0.0]])
  got = evaluate("rloo(clip=0.2)", logps=logps, **columns)
  assert got.metrics["clip_ratio"].tolist() == [[1.0, 1.0, 0.0]]
  assert got.grads["logps"][0, :2].tolist() == [0.0, 0.0]
  close(got.grads["logps"][0, 2], -got.metrics["advantages"][0, 2] / 3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("gap", [-100.0, -95.0, 95.0, 100.0])
@pytest.mark.parametrize(
  "spec", ["f_dpo(divergence=forward_kl, beta=1.0)", "discopop(beta=1.0)"]
)
def test_far_margins_have_losses_and_gradients(spec, gap, dtype):
  """Where TRL's forward KL is -inf and its DiscoPOP is NaN."""
  got = evaluate(
    spec, logps=[[-120.0 + gap, -120.0]], ref_logps=[[-120.0] * 2], dtype=dtype
  )
  push = -got.grads["logps"][0]
  assert np.isfinite(got.values).all()
  assert np.isfinite(push).all()
  assert (push[0] > 0) == (gap < 0)  # still to be learned, or learned


@pytest.mark.parametrize("gap", [-100.0, 100.0])
def test_discopop_far_out_is_its_outer_loss(gap):
  """DPO's where the margin is negative, the exponential where positive."""
  columns = {"logps": [[gap - 120, -120.0]], "ref_logps": [[-120.0, -120.0]]}
  got = evaluate("discopop(beta=1.0)", **columns)
  like = "dpo(beta=1.0)" if gap < 0 else "gpo_exponential(beta=1.0)"
  close(got.values, evaluate(like, **columns).values)


@pytest.mark.parametrize(
  ("deviation", "weaker"), [(0.05, 65), (0.2, 65), (0.5, 68), (1.0, 82)]
)
def test_grpo_kl_is_weaker_than_the_mean_of_the_tokens(deviation, weaker):
  """By as much as its docstring says, for 64 independent tokens."""
  u = deviation * np.random.default_rng(0).normal(size=(20_000, 64))
  tokens = (np.exp(u) - u - 1).mean()
  columns = {"lengths": np.full((10_000, 2), 64.0)}
  columns["rewards"] = columns["ref_logps"] = np.zeros((10_000, 2))
  logps = -u.sum(axis=1).reshape(-1, 2)
  got = evaluate("grpo(clip=None)", logps=logps, **columns).metrics["kl"]
  assert tokens / got.mean() == pytest.approx(weaker, rel=0.03)


def test_wpo_holds_its_weight_to_the_clamp():
  columns = {
    "ref_logps": [[-4.0, -4.0]] * 2,
    "lengths": [[4, 4]] * 2,
    "log_collisions": [[-4.0, -4.5], [-3.0, -3.0]],
  }
  logps = [[-2.0, -4.0], [-4.0, -5.0]]
  free, held = (
    evaluate(spec, logps=logps, **columns) for spec in ("wpo", "wpo(clamp=1.0)")
  )
  weights = np.exp([(2.0 + 0.5) / 4, (-1.0 - 2.0) / 4])
  close(free.metrics["weight"], weights)
  close(held.metrics["weight"], [1.0, weights[1]])
  close(held.values, free.values / weights * [1.0, weights[1]])
  with pytest.raises(UserError, match="clamp must be above 0"):
    losses.get("wpo(clamp=0.0)")


def test_una_is_dro_v_without_a_value():
  columns = table(2, seed=2) | {"values": np.zeros((4, 1))}
  una = evaluate("una(beta=0.4)", **columns)
  dro = evaluate("dro_v(tau=0.4)", **columns)
  close(una.values, 2 * dro.values)
  close(una.grads["logps"], 2 * 0.4 * dro.grads["logps"])


def test_near_the_reference_the_forward_dro_is_dro_v():
  columns = table(2, seed=4)
  columns["logps"] = columns["ref_logps"] + 1e-4 * columns["rewards"]
  forward = evaluate("dro_forward(beta=0.7)", **columns)
  dro = evaluate("dro_v(tau=0.7)", **columns)
  close(forward.grads["logps"], dro.grads["logps"], atol=1e-8)
  close(forward.grads["values"], dro.grads["values"], atol=1e-8)


def test_the_value_of_the_forward_dro_moves_by_its_residual():
  columns = table(3, seed=8)
  got = evaluate("dro_forward(beta=0.7)", **columns)
  residual = got.metrics["values/residual"]
  close(got.grads["values"], -residual.mean(axis=1, keepdims=True) / 4)


def test_with_one_prompt_in_its_samples_a_star_values_are_exact():
  """V* of a reference whose three completions are logged by their shares."""
  rewards = np.array([[1.0, 1.0, 0.0, -2.0]])
  ref = np.log([[0.5, 0.5, 0.25, 0.25]])
  got = evaluate(
    "a_star_po(tau=0.5)", logps=ref, ref_logps=ref, rewards=rewards
  )
  want = 0.5 * np.log(np.mean(np.exp(rewards / 0.5)))
  close(got.metrics["values/mean"], np.full((1, 4), want))
  close(got.metrics["values/residual"], rewards - want)


def test_rpo_raises_long_completions_whatever_they_score():
  """As sums over tokens: why log-probs are means by default."""
  ref = np.array([[-100.0, -110.0]])
  rewards = [[1.0, -1.0]]
  given = {"logps": ref, "ref_logps": ref, "rewards": rewards}
  got = evaluate("rpo(tau=1.0, per_token=False)", **given)
  assert (got.grads["logps"] < -10).all()
  means = evaluate("rpo(tau=1.0)", **given, lengths=[[100, 110]])
  assert means.grads["logps"][0, 0] < 0 < means.grads["logps"][0, 1]
