"""Power against statsmodels and by simulation."""

import doctest

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from offalign.statistics import power
from offalign.statistics.power import detectable, prompts_needed, sentence


def test_the_examples_hold():
  assert doctest.testmod(power).failed == 0


def test_348_prompts_resolve_575():
  assert 0.5 + detectable(348) == pytest.approx(0.575, abs=2e-4)
  assert prompts_needed(0.075) in (348, 349)
  assert prompts_needed(0.05) == 785


@pytest.mark.parametrize("ties", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("n", [50, 348, 5000])
def test_it_is_the_z_test_of_statsmodels(n, ties):
  sd = np.sqrt((1 - ties) / 4)
  found = detectable(n, ties)
  theirs = NormalIndPower(ddof=0).power(found / sd, n, 0.05, ratio=0)
  assert theirs == pytest.approx(0.8, abs=1e-4)
  assert n <= prompts_needed(found, ties) <= n + 1


def test_so_many_prompts_see_it_four_times_of_five():
  rng = np.random.default_rng(0)
  n, ties = 400, 0.4
  d = detectable(n, ties)
  chances = [(1 - ties) / 2 + d, ties, (1 - ties) / 2 - d]
  won, _, lost = rng.multinomial(n, chances, 4000).T
  score = np.abs(won - lost) / np.sqrt(won + lost)  # of the sign test
  assert np.mean(score > 1.96) == pytest.approx(0.8, abs=0.03)


def test_the_sentence_says_both_numbers():
  said = sentence(348, 0.0)
  assert "348 prompts of which 0% are ties" in said
  assert "0.075 or more away from .5 is seen with 80% power" in said
  assert "takes 1,392 prompts" in said
  assert "no win rate" in sentence(2, 0.0)
  assert "All of 8 prompts are ties" in sentence(8, 1.0)
