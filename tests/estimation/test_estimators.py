"""Estimates cover the truth, and thin support is refused."""

import dataclasses

import numpy as np
import pytest

from offalign.errors import UserError
from offalign.estimation.estimators import Evidence, estimate

PROMPTS, ARMS = 20_000, 6  # of which a log sees a few


class Bandit:
  """Prompts with a few arms each, whose true values are known."""

  def __init__(self, seed, distance=0.7, error=0.4):
    rng = np.random.default_rng(seed)
    self.reward = rng.normal(size=(PROMPTS, ARMS)) + rng.normal(
      size=(PROMPTS, 1)
    )
    logits = rng.normal(size=(PROMPTS, ARMS))
    self.old = _softmax(logits)
    self.new = _softmax(logits + distance * self.reward)
    # A reward model that is wrong, and knows little of the level of a prompt.
    self.model = 0.5 * self.reward + error * rng.normal(size=(PROMPTS, ARMS))

  def log(self, n, rng, model=True):
    """n completions of prompts drawn with replacement."""
    prompts = rng.integers(PROMPTS, size=n // 2).repeat(2)
    below = self.old[prompts].cumsum(axis=1) < rng.random((n, 1))
    arms = below[:, :-1].sum(axis=1)
    kept, index = np.unique(prompts, return_inverse=True)
    direct = (self.new * self.model).sum(axis=1)[kept]
    return Evidence(
      prompts=index,
      rewards=self.reward[prompts, arms] + 0.3 * rng.normal(size=n),
      log_weights=np.log(self.new / self.old)[prompts, arms],
      modelled=self.model[prompts, arms] if model else None,
      direct=direct if model else None,
    )

  @property
  def truth(self):
    return float((self.new * self.reward).sum(axis=1).mean())


def _softmax(x):
  e = np.exp(x - x.max(axis=1, keepdims=True))
  return e / e.sum(axis=1, keepdims=True)


def test_intervals_cover_the_truth_in_90_to_99_percent_of_200_logs():
  bandit, sharp = Bandit(0), Bandit(0)
  sharp.model = 3 - 2 * sharp.reward  # right, on a scale of its own
  covered = dict.fromkeys(("importance", "doubly robust", "direct"), 0)
  for seed in range(200):
    for world, names in (
      (bandit, ("importance", "doubly robust")),
      (sharp, ("direct",)),
    ):
      evidence = world.log(400, np.random.default_rng(seed))
      report = estimate(evidence, resamples=400, seed=seed)
      for name in names:
        found = report.estimates[name]
        covered[name] += found.low <= world.truth <= found.high
  assert all(0.9 * 200 <= n <= 0.99 * 200 for n in covered.values()), covered


def test_a_wrong_model_misleads_the_direct_method_and_not_the_robust_one():
  bandit = Bandit(1)
  direct, robust = [], []
  for seed in range(60):
    evidence = bandit.log(800, np.random.default_rng(seed))
    found = estimate(evidence, resamples=50).estimates
    direct.append(found["direct"].value)
    robust.append(found["doubly robust"].value)
  error = np.std(robust, ddof=1) / np.sqrt(60)
  assert abs(np.mean(robust) - bandit.truth) < 4 * error
  assert abs(np.mean(direct) - bandit.truth) > 10 * error


def test_a_good_model_narrows_the_robust_interval():
  sharp = Bandit(2)
  sharp.model = sharp.reward
  evidence = sharp.log(600, np.random.default_rng(0))
  found = estimate(evidence).estimates
  width = {k: x.high - x.low for k, x in found.items()}
  assert width["doubly robust"] < 0.95 * width["importance"]


def test_the_same_policy_is_worth_what_the_log_says():
  rng = np.random.default_rng(0)
  rewards = rng.normal(size=300)
  evidence = Evidence(np.arange(300) // 2, rewards, np.zeros(300))
  report = estimate(evidence)
  assert report.effective == pytest.approx(300)
  assert report.mean_weight == pytest.approx(1)
  found = report.estimates["importance"]
  assert found.value == pytest.approx(rewards.mean())
  assert (found.gain, found.gain_low, found.gain_high) == pytest.approx(
    (0, 0, 0), abs=1e-12
  )
  assert set(report.estimates) == {"importance"}


def test_completions_of_one_prompt_are_no_independent_evidence():
  rng = np.random.default_rng(3)
  level = np.repeat(rng.normal(size=50), 20)
  clustered = Evidence(np.repeat(np.arange(50), 20), level, np.zeros(1000))
  alone = dataclasses.replace(clustered, prompts=np.arange(1000))
  wide, narrow = (
    estimate(e).estimates["importance"] for e in (clustered, alone)
  )
  assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_the_estimate_is_the_formula():
  modelled, rewards = [0.5, 0.5, 1.0, 2.0], [1.0, 0.0, 2.0, 1.0]
  weight, direct = np.array([1.0, 0.5, 2.0, 1.0]), np.array([0.6, 1.2, 0.9])
  evidence = Evidence(
    prompts=np.tile([0, 1, 1, 2], 60),
    rewards=np.tile(rewards, 60),
    log_weights=np.tile(np.log(weight), 60),
    modelled=np.tile(modelled, 60),
    direct=direct,
  )
  found = estimate(evidence).estimates
  line = np.polynomial.Polynomial.fit(modelled, rewards, 1)
  # The second prompt has two completions, and counts twice.
  said = line(direct)[[0, 1, 1, 2]].mean()
  missed = np.array(rewards) - line(np.array(modelled))
  assert found["importance"].value == pytest.approx(6 / 4.5)
  assert found["direct"].value == pytest.approx(said)
  assert found["doubly robust"].value == pytest.approx(
    said + weight @ missed / 4.5
  )


def test_a_model_that_knows_nothing_says_the_mean():
  rng = np.random.default_rng(0)
  evidence = Evidence(
    prompts=np.arange(200),
    rewards=rng.normal(size=200),
    log_weights=0.1 * rng.normal(size=200),
    modelled=np.full(200, 0.3),
    direct=np.full(200, 0.3),
  )
  report = estimate(evidence, resamples=50)
  found = report.estimates
  assert found["direct"].value == pytest.approx(report.logged)
  assert found["doubly robust"] == found["importance"]


def test_a_models_zero_and_unit_do_not_matter():
  evidence = Bandit(4).log(300, np.random.default_rng(0))
  other = dataclasses.replace(
    evidence,
    modelled=50 - 7 * evidence.modelled,
    direct=50 - 7 * evidence.direct,
  )
  for name, found in estimate(evidence, resamples=50).estimates.items():
    again = estimate(other, resamples=50).estimates[name]
    assert dataclasses.astuple(again) == pytest.approx(
      dataclasses.astuple(found)
    )


@pytest.mark.parametrize(
  ("log_weights", "said"),
  [
    (np.linspace(-80, 0, 400), "are needed"),
    (np.r_[np.zeros(399), np.log(150)], "are needed"),
    (np.full(400, -3.0), "where it should be 1"),
    (np.r_[np.zeros(200), np.full(200, -2000.0)] + 600, None),
  ],
)
def test_a_policy_off_the_support_is_refused(log_weights, said):
  evidence = Evidence(
    np.arange(400), np.random.default_rng(0).random(400), log_weights
  )
  report = estimate(evidence)
  if said is None:
    assert not report.refusal
    assert report.effective == pytest.approx(200)
  else:
    assert said in report.refusal
    assert not report.estimates


def test_too_few_effective_completions_are_refused_as_many_as_asked_for():
  rng = np.random.default_rng(0)
  evidence = Evidence(np.arange(90), rng.random(90), np.zeros(90))
  assert "has 90 rated completions" in estimate(evidence).refusal
  assert not estimate(evidence, least=30).refusal


def test_evidence_that_does_not_fit_is_refused():
  good = {
    "prompts": np.arange(3),
    "rewards": np.ones(3),
    "log_weights": np.zeros(3),
  }
  for wrong, said in (
    ({"rewards": np.ones(0)}, "no completion"),
    ({"log_weights": np.zeros(2)}, "shape"),
    ({"rewards": np.array([1.0, np.nan, 0.0])}, "not finite"),
    ({"modelled": np.ones(3)}, "not one of them alone"),
    ({"modelled": np.ones(3), "direct": np.ones(2)}, "direct has the shape"),
  ):
    with pytest.raises(UserError, match=said):
      Evidence(**{**good, **wrong})
