import pytest

from offalign import losses
from offalign.policy.log_ratios import nats

KTO, DRO = losses.get("kto(beta=0.1)"), losses.get("dro_v(tau=0.5)")
PAIRS = {"eval_rewards/chosen": -0.885, "eval_rewards/rejected": -1.0}


def test_nats_are_rewards_over_the_scale():
  assert nats(KTO, PAIRS, judged=True) == {
    "chosen": pytest.approx(-8.85),
    "rejected": pytest.approx(-10),
  }
  one = {"eval_rewards/mean": -2.0}
  assert nats(DRO, one, judged=False) == {"all": -4.0}
  # The reference's log-probs come token by token.
  parts = losses.get("weighted_dro_v(tau=0.5)")
  assert nats(parts, one, judged=False) == {"all": -4.0}


@pytest.mark.parametrize(
  ("loss", "judged"), [("simpo", True), ("sft", False), ("orpo", False)]
)
def test_rewards_that_are_no_log_ratios_are_no_nats(loss, judged):
  held = PAIRS | {"eval_rewards/mean": -5.0}
  assert nats(losses.get(loss), held, judged=judged) == {}
