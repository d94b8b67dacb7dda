"""A bandit of three arms, where what a loss should reach is known.

One prompt; the batch is every observation that there can be, weighted by its
probability, so that gradients are exact expectations; the policy is a
softmax over the arms, trained by plain gradient descent in float64.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import specs

from offalign import losses
from offalign.learner.columns import batch_statistics
from offalign.types import Kind, Scores

REWARDS = np.array([1.0, 0.2, -0.6])
REF = np.array([0.2, 0.5, 0.3])


def observations(loss, preference=None):
  """(arms [B, K], weight [B]): all that can be seen of samples of REF.

  Args:
    loss: its kind decides K.
    preference: chance that arm i is preferred to arm j, given their rewards;
      by default the better reward wins.
  """
  if loss.kind is Kind.GROUP:
    return np.array([[0, 1, 2]]), np.ones(1)
  if loss.kind is Kind.SINGLE:
    return np.arange(3)[:, None], REF
  arms = np.array(list(itertools.permutations(range(3), 2)))
  win = preference or (lambda gap: (gap > 0).astype(float))
  gap = REWARDS[arms[:, 0]] - REWARDS[arms[:, 1]]
  return arms, REF[arms].prod(axis=1) * win(gap)


def train(spec, *, rate=0.1, steps=2000, preference=None):
  """Returns the policy and V after some steps from the reference."""
  loss = losses.get(spec)
  with jax.enable_x64(True):
    arms, weight = (jnp.asarray(x) for x in observations(loss, preference))
    weight = weight / weight.sum()
    rewards, log_ref = jnp.asarray(REWARDS), jnp.log(jnp.asarray(REF))
    lengths = jnp.ones(arms.shape)
    data = {
      "ref_logps": log_ref[arms],
      "behaviour_logps": log_ref[arms],
      "ref_prefix_logps": log_ref[arms],
      "weight": weight,
      "rewards": rewards[arms],
      "labels": rewards[arms] > 0.0,
      "lengths": lengths,
      "ref_token_logps": log_ref[arms][..., None],
      "behaviour_token_logps": log_ref[arms][..., None],
      "token_mask": jnp.ones((*arms.shape, 1), bool),
      "token_weights": jnp.ones((*arms.shape, 1)),
    }
    data |= batch_statistics(
      loss.needs,
      weight=weight,
      lengths=lengths,
      rewards=data["rewards"],
      labels=data["labels"],
    )

    def objective(params):
      log_pi = jax.nn.log_softmax(params["logits"])
      kl = jnp.exp(log_ref) @ (log_pi - log_ref)  # a completion of any prompt
      scores = {
        **data,
        "logps": log_pi[arms],
        "prefix_logps": log_pi[arms],  # completions of one token
        "log_collisions": jnp.full(arms.shape, jax.nn.logsumexp(2 * log_pi)),
        "values": jnp.broadcast_to(params["value"], (len(arms), 1)),
        "token_logps": log_pi[arms][..., None],
        "token_kls": jnp.full(
          (*arms.shape, 1), jnp.exp(log_ref) @ (log_ref - log_pi)
        ),
        "token_values": jnp.broadcast_to(params["value"], (*arms.shape, 1)),
        "kl": jax.lax.stop_gradient(kl),
      }
      return weight @ loss(Scores(scores)).values

    def step(params, _):
      grads = jax.grad(objective)(params)
      return jax.tree.map(lambda p, g: p - rate * g, params, grads), None

    start = {"logits": log_ref, "value": jnp.zeros(())}
    end, _ = jax.jit(lambda p: jax.lax.scan(step, p, length=steps))(start)
    return np.asarray(jax.nn.softmax(end["logits"])), float(end["value"])


def tilted(temperature):
  """pi* ~ pi_ref exp(r / temperature)."""
  weight = REF * np.exp(REWARDS / temperature)
  return weight / weight.sum()


FEEDBACK = [
  spec
  for spec in specs()
  if spec not in ("sft", "discopop", "distill")
  and not losses.get(spec).trains_rewards
]


@pytest.mark.parametrize("spec", FEEDBACK)
def test_expected_reward_rises(spec):
  policy, _ = train(spec)
  assert policy @ REWARDS > REF @ REWARDS + 0.01


def test_discopop_falls_off_the_wrong_side_of_its_bump():
  """From the reference alone, as its `pushes` say; tau = 1 has no bump."""
  policy, _ = train("discopop")
  assert policy @ REWARDS < REF @ REWARDS


def test_sft_on_everything_stays_at_the_reference():
  policy, _ = train("sft")
  np.testing.assert_allclose(policy, REF, rtol=1e-9)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_dro_v_reaches_its_closed_form(tau):
  policy, value = train(f"dro_v(tau={tau})", rate=0.5, steps=5000)
  np.testing.assert_allclose(policy, tilted(tau), atol=1e-4)
  want = tau * np.log(REF @ np.exp(REWARDS / tau))
  np.testing.assert_allclose(value, want, atol=1e-4)


@pytest.mark.parametrize("spec", ["dro_group(tau=0.5)", "rloo(beta=0.5)"])
def test_group_losses_reach_the_same_policy_without_a_value(spec):
  policy, _ = train(spec, rate=0.5, steps=5000)
  np.testing.assert_allclose(policy, tilted(0.5), atol=1e-4)


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_rebel_reaches_a_step_of_mirror_descent(eta):
  policy, _ = train(f"rebel(eta={eta})", rate=0.1, steps=5000)
  np.testing.assert_allclose(policy, tilted(1.0 / eta), atol=1e-4)


@pytest.mark.parametrize("spec", ["dpo(beta=0.8)", "gpo_exponential(beta=0.4)"])
def test_bradley_terry_labels_lead_to_the_tilted_reference(spec):
  """DPO at tau and the exponential loss at tau / 2 share their optimum."""
  policy, _ = train(
    spec,
    rate=2.0,
    steps=5000,
    preference=lambda gap: 1.0 / (1.0 + np.exp(-gap)),
  )
  np.testing.assert_allclose(policy, tilted(0.8), atol=1e-4)
