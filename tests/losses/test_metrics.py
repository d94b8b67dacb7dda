"""What losses log: TRL's names, scaled rewards, summed log-probs, NaN."""

import numpy as np
import pytest
from specs import specs

from offalign import losses
from offalign.testing import evaluate
from offalign.types import Kind, Scores

LOGPS = np.array([[-5.0, -9.0], [-7.0, -4.0], [-3.0, -3.0]])
REF = np.array([[-6.0, -8.0], [-5.0, -5.0], [-2.0, -2.0]])
TABLE = {
  "logps": LOGPS,
  "ref_logps": REF,
  "behaviour_logps": REF,
  "prefix_logps": LOGPS / 2,
  "ref_prefix_logps": REF / 2,
  "log_collisions": LOGPS / 3,
  "lengths": np.array([[2, 4], [5, 2], [3, 3]]),
  "rewards": np.array([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]]),
  "labels": np.array([[True, False], [False, True], [True, True]]),
  "margins": np.array([1.0, -0.5, 0.0]),
  "values": np.zeros((3, 2)),
  "kl": 0.0,
}
LENGTHS = TABLE["lengths"][..., None]
MASK = np.arange(5) < LENGTHS
TABLE |= {
  "token_mask": MASK,
  "token_kls": np.full(MASK.shape, 0.1),
  "token_values": np.zeros(MASK.shape),
  "old_token_values": np.zeros(MASK.shape),
  "token_rewards": np.ones(MASK.shape),
  "token_weights": np.ones(MASK.shape),
  **{
    f"{policy}token_logps": np.where(
      MASK, TABLE[f"{policy}logps"][..., None] / LENGTHS, 0.0
    )
    for policy in ("", "ref_", "behaviour_")
  },
}
PAIR = {
  "rewards/chosen",
  "rewards/rejected",
  "rewards/margins",
  "rewards/accuracies",
  "logps/chosen",
  "logps/rejected",
}


def metrics(spec):
  return evaluate(spec, **TABLE).metrics


@pytest.mark.parametrize("spec", specs())
def test_every_loss_logs_the_names_of_its_kind(spec):
  loss = losses.get(spec)
  logged = metrics(spec).keys()
  if loss.kind is Kind.PAIR:
    assert logged >= PAIR
  elif {"labels", "kl"} & set(loss.needs):
    assert logged >= PAIR - {"rewards/margins", "rewards/accuracies"}
  else:
    assert logged >= {"rewards/mean", "logps/mean"}


def test_pairs_log_scaled_log_ratios_and_sums():
  got = metrics("dpo(beta=0.5)")
  np.testing.assert_allclose(got["rewards/chosen"], [0.5, -1.0, -0.5])
  np.testing.assert_allclose(got["rewards/rejected"], [-0.5, 0.5, -0.5])
  np.testing.assert_allclose(got["rewards/margins"], [1.0, -1.5, 0.0])
  np.testing.assert_allclose(got["rewards/accuracies"], [1.0, 0.0, 0.0])
  np.testing.assert_allclose(got["logps/chosen"], LOGPS[:, 0])
  np.testing.assert_allclose(got["logps/rejected"], LOGPS[:, 1])


@pytest.mark.parametrize(
  ("spec", "scale"),
  [("ipo(tau=0.5)", 0.5), ("rebel(eta=4.0)", 0.25), ("dro_v(tau=2.0)", 2.0)],
)
def test_the_scale_is_the_losss_own(spec, scale):
  loss = losses.get(spec)
  got = loss.implicit_rewards(Scores({"logps": LOGPS, "ref_logps": REF}))
  np.testing.assert_allclose(got, scale * (LOGPS - REF), rtol=1e-6)


@pytest.mark.parametrize(
  ("spec", "scale"),
  [
    ("ppo(kl_coef=0.2)", 0.2),
    ("grpo(kl=token, ratio=token, beta=0.3)", 0.3),
    ("weighted_dro_v(tau=2.0)", 2.0),
    ("weighted_dpo(beta=0.5)", 0.5),
  ],
)
def test_a_reference_by_token_is_a_reference(spec, scale):
  behind = np.where(MASK, TABLE["ref_token_logps"], 9.0)
  table = TABLE | {"ref_token_logps": behind}
  got = evaluate(spec, **table).metrics
  want = scale * (LOGPS - REF)
  if losses.get(spec).kind is Kind.PAIR:
    np.testing.assert_allclose(got["rewards/rejected"], want[:, 1], rtol=1e-6)
    np.testing.assert_allclose(got["rewards/accuracies"], [1.0, 0.0, 0.0])
  else:
    np.testing.assert_allclose(got["rewards/mean"], want, rtol=1e-6)


def test_without_a_reference_log_probs_stand_for_log_ratios():
  mean = LOGPS / TABLE["lengths"]
  got = metrics("simpo(beta=2.0)")
  np.testing.assert_allclose(got["rewards/chosen"], 2.0 * mean[:, 0])
  np.testing.assert_allclose(got["logps/chosen"], LOGPS[:, 0])
  got = metrics("orpo(beta=0.5)")
  np.testing.assert_allclose(got["rewards/rejected"], 0.5 * mean[:, 1])
  np.testing.assert_allclose(got["nll_loss"], -mean[:, 0])
  np.testing.assert_allclose(metrics("sft")["rewards/mean"], LOGPS)


def test_pairs_in_no_order_are_ordered_by_reward_and_ties_left_out():
  got = metrics("rebel")
  nan = np.nan
  np.testing.assert_allclose(got["rewards/chosen"], [1.0, 1.0, nan])
  np.testing.assert_allclose(got["rewards/rejected"], [-1.0, -2.0, nan])
  np.testing.assert_allclose(got["rewards/margins"], [2.0, 3.0, nan])
  np.testing.assert_allclose(got["rewards/accuracies"], [1.0, 1.0, nan])
  np.testing.assert_allclose(got["logps/chosen"], [-5.0, -4.0, nan])
  np.testing.assert_allclose(got["logps/rejected"], [-9.0, -7.0, nan])


def test_labelled_completions_are_nan_where_the_label_is_the_other():
  got = metrics("kto(beta=0.5)")
  labels, rho, nan = TABLE["labels"], 0.5 * (LOGPS - REF), np.nan
  np.testing.assert_allclose(got["rewards/chosen"], np.where(labels, rho, nan))
  np.testing.assert_allclose(
    got["rewards/rejected"], np.where(labels, nan, rho)
  )
  np.testing.assert_allclose(got["logps/chosen"], np.where(labels, LOGPS, nan))
  np.testing.assert_allclose(
    got["logps/rejected"], np.where(labels, nan, LOGPS)
  )


def test_a_loss_may_name_a_metric_of_its_own():
  got = metrics("kto(threshold=batch)")
  above = TABLE["rewards"] > TABLE["rewards"].mean()
  assert (np.isfinite(got["rewards/chosen"]) == above).all()
  assert got["kl"].tolist() == [0.0, 0.0, 0.0]


def test_a_supervised_term_leaves_the_rewards_alone():
  alone, both = metrics("orpo(sft_weight=0.0)"), metrics("orpo")
  for name in PAIR:
    np.testing.assert_array_equal(alone[name], both[name])
