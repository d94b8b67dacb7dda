"""Win rates against closed forms, scipy and statsmodels, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.proportion import proportion_confint

from offalign.errors import UserError
from offalign.judges import win_rates
from offalign.judges.win_rates import length_controlled, wilson, win_rate
from offalign.statistics.outcomes import prompt_set

VERDICT = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan])
ROWS = st.lists(
  st.tuples(VERDICT, st.integers(0, 6), st.integers(0, 50), st.integers(0, 50)),
  min_size=1,
  max_size=30,
).filter(lambda rows: not all(math.isnan(row[0]) for row in rows))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_ties_count_half_and_no_verdict_not_at_all():
  found = win_rate([1, 1, 0, 0.5, math.nan])
  assert found.rate == 2.5 / 4
  assert (found.prompts, found.comparisons) == (4, 4)
  assert found.ties == 0.25
  assert found.length_controlled is None
  assert (found.folds, found.fold_sd) == ((), None)


def test_a_prompt_counts_once_however_often_it_is_judged():
  found = win_rate([1, 1, 1, 0], ["x", "x", "x", "y"])
  assert found.rate == 0.5
  assert (found.prompts, found.comparisons) == (2, 4)
  assert (found.low, found.high) == wilson(0.5, 2)


def test_folds_are_the_papers():
  wins = np.repeat([1.0, 1.0, 0.0, 0.5, 1.0], 1000)
  found = win_rate(wins)
  assert found.folds == (1.0, 1.0, 0.0, 0.5, 1.0)
  assert found.fold_sd == pytest.approx(np.std(found.folds, ddof=1))
  # Uneven ones: the first have one more, and none is left out.
  found = win_rate([1, 1, 0, 0, 1, 0, 1], folds=3)
  assert found.folds == (2 / 3, 0.5, 0.5)


def test_wilson_is_where_the_score_test_just_does_not_reject():
  for rate, n in ((0.3, 40), (0.0, 12), (1.0, 7), (0.5, 1)):
    for end in wilson(rate, n):
      if 0 < end < 1:
        z = (rate - end) / math.sqrt(end * (1 - end) / n)
        assert abs(z) == pytest.approx(1.959964, rel=1e-6)
  assert wilson(1.0, 7)[1] == 1.0
  assert 0.6 < wilson(1.0, 7)[0] < 0.7


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_that_of_statsmodels_and_scipy(n, data, confidence):
  wins = data.draw(st.integers(0, n))
  found = wilson(wins / n, n, confidence)
  theirs = proportion_confint(wins, n, alpha=1 - confidence, method="wilson")
  assert found == pytest.approx(theirs, abs=1e-12)
  theirs = stats.binomtest(wins, n).proportion_ci(confidence, method="wilson")
  assert found == pytest.approx(tuple(theirs), abs=1e-12)


def test_wilson_of_wins_alone_is_the_interval_that_is_reported():
  wins = [1.0] * 70 + [0.0] * 30
  found = win_rate(wins)
  theirs = proportion_confint(70, 100, method="wilson")
  assert (found.low, found.high) == pytest.approx(theirs)
  # With ties the counts are not whole, and the interval is the narrower one.
  found = win_rate([*wins, 0.5])
  theirs = proportion_confint(70.5, 101, method="wilson")
  assert theirs[0] < found.low < found.rate < found.high < theirs[1]
  assert (found.low, found.high) == pytest.approx(theirs, abs=1e-3)


def test_outcomes_and_their_error_are_those_of_the_prompts():
  judged = [1, 0, 0.5, math.nan, 1]
  found = win_rate(judged, ["x", "y", "x", "z", "y"])
  assert found.outcomes[:2] == (0.75, 0.5)
  assert math.isnan(found.outcomes[2])
  assert found.rate == pytest.approx(np.nanmean(found.outcomes))
  assert found.se == pytest.approx(stats.sem([0.75, 0.5]))
  assert found.prompt_set == prompt_set("xyz")
  assert win_rate([1.0]).se is None
  assert win_rate([1.0, 0.0]).prompt_set == ""


@given(
  st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=60),
  st.integers(2, 7),
)
def test_folds_have_the_means_and_standard_error_of_scipy(wins, folds):
  found = win_rate(wins, folds=folds)
  if len(wins) < folds:
    assert found.folds == ()
    return
  sizes = [len(wins) // folds + (i < len(wins) % folds) for i in range(folds)]
  fold = np.repeat(np.arange(folds), sizes)
  theirs = [stats.tmean(np.array(wins)[fold == i]) for i in range(folds)]
  assert found.folds == pytest.approx(theirs)
  assert found.fold_sd == pytest.approx(stats.tstd(theirs), abs=1e-12)
  error = found.fold_sd / math.sqrt(folds)
  assert error == pytest.approx(stats.sem(theirs), abs=1e-12)


def test_the_rate_of_prompts_is_the_mean_of_scipys_group_means():
  rng = np.random.default_rng(4)
  prompts = rng.integers(0, 12, 50)
  wins = rng.choice([0, 0.5, 1], 50)
  means = [stats.tmean(wins[prompts == p]) for p in np.unique(prompts)]
  assert win_rate(wins, prompts).rate == pytest.approx(stats.tmean(means))


def test_the_interval_holds_the_truth_nineteen_times_of_twenty():
  rng = np.random.default_rng(0)
  for p in (0.5, 0.8, 0.95):
    ends = [wilson(x / 200, 200) for x in rng.binomial(200, p, 2000)]
    held = np.mean([low <= p <= high for low, high in ends])
    assert 0.93 < held < 0.97


@given(ROWS)
def test_exchanging_the_contestants_is_one_minus(rows):
  wins, prompts, a, b = map(list, zip(*rows, strict=True))
  one = win_rate(wins, prompts, (a, b), folds=2)
  other = win_rate([1 - w for w in wins], prompts, (b, a), folds=2)
  assert 0 <= one.low <= one.rate <= one.high <= 1
  assert one.rate == pytest.approx(1 - other.rate)
  assert one.low == pytest.approx(1 - other.high)
  assert one.folds == pytest.approx(tuple(1 - x for x in other.folds))
  assert one.length_controlled == pytest.approx(
    1 - other.length_controlled, abs=1e-6
  )
  assert one.length_low == pytest.approx(1 - other.length_high, abs=1e-6)


@given(ROWS, st.integers(-5, 5))
def test_equal_differences_of_length_control_for_nothing(rows, longer):
  wins, prompts, a, _ = map(list, zip(*rows, strict=True))
  found = win_rate(wins, prompts, (a, [x + longer for x in a]), folds=2)
  assert found.length_controlled == pytest.approx(found.rate, abs=1e-9)


def test_length_control_finds_the_rate_behind_a_judge_that_likes_length():
  rng = np.random.default_rng(1)
  n, theta, phi = 4000, 0.4, 1.5
  difference = rng.normal(100, 50, n)  # longer nearly always
  x = np.tanh(difference / difference.std())
  wins = (rng.random(n) < sigmoid(theta + phi * x)).astype(float)
  rate, low, high = length_controlled(wins, difference, np.arange(n))
  assert wins.mean() > 0.8
  assert rate == pytest.approx(sigmoid(theta), abs=0.06)
  assert low < sigmoid(theta) < high
  assert high - low < 0.2


def test_length_control_is_the_penalised_optimum():
  rng = np.random.default_rng(2)
  y, d = rng.choice([0, 0.5, 1], 25), rng.normal(0, 10, 25)
  rate, _, _ = length_controlled(y, d, np.arange(25))
  x = np.tanh(d / d.std())

  def cost(theta, phi):
    p = sigmoid(theta + phi * x)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() + phi * phi / 2

  theta = math.log(rate / (1 - rate))
  grid = np.linspace(-6, 6, 1201)
  best = min((cost(theta, phi), phi) for phi in grid)
  for shift in (-0.02, 0.02):
    others = min(cost(theta + shift, phi) for phi in grid)
    assert best[0] < others


def judged_by_length(seed, n=90):
  """Preferences with ties, differences of length, prompts, their weights."""
  rng = np.random.default_rng(seed)
  difference = rng.normal(20, 30, n)
  noise = rng.logistic(size=n)
  score = 0.3 + 0.8 * np.tanh(difference / difference.std()) + noise
  wins = np.where(np.abs(score) < 0.3, 0.5, (score > 0).astype(float))
  group = np.arange(n) // 3
  group[n // 2 :] = np.arange(n - n // 2) + group[n // 2]
  return wins, difference, group, 1 / np.bincount(group)[group]


@pytest.mark.parametrize("seed", range(4))
def test_length_control_is_the_fit_of_scipy(seed):
  wins, difference, group, weights = judged_by_length(seed)
  x = np.tanh(difference / difference.std())

  def cost(params):
    z = params[0] + params[1] * x
    fit = wins * special.log_expit(z) + (1 - wins) * special.log_expit(-z)
    return params[1] ** 2 / 2 - weights @ fit

  theirs = optimize.minimize(cost, np.zeros(2), tol=1e-12).x
  rate, _, _ = length_controlled(wins, difference, group)
  assert rate == pytest.approx(special.expit(theirs[0]), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_without_its_penalty_length_control_is_the_glm_of_statsmodels(
  monkeypatch, seed
):
  monkeypatch.setattr(win_rates, "_RIDGE", 0.0)
  monkeypatch.setattr(win_rates, "_RESAMPLES", 40)
  wins, difference, group, weights = judged_by_length(seed)
  x = np.tanh(difference / difference.std())
  n = group.max() + 1

  def theirs(weights):
    drawn = weights > 0
    design = np.stack([np.ones(drawn.sum()), x[drawn]], axis=1)
    glm = GLM(wins[drawn], design, Binomial(), var_weights=weights[drawn])
    return special.expit(glm.fit(tol=1e-12).params[0])

  rate, low, high = length_controlled(wins, difference, group, seed=7)
  assert rate == pytest.approx(theirs(weights), abs=1e-9)
  # The bootstrap resamples prompts, all comparisons of one together.
  draws = np.random.default_rng(7).multinomial(n, np.full(n, 1 / n), 40)
  rates = [theirs(draw[group] * weights) for draw in draws]
  assert (low, high) == pytest.approx(
    tuple(stats.mstats.mquantiles(rates, [0.025, 0.975], alphap=1, betap=1)),
    abs=1e-9,
  )


@pytest.mark.parametrize("wins", [[1.0] * 4, [0.0] * 4])
def test_who_always_wins_does_so_at_equal_lengths(wins):
  found = win_rate(wins, lengths=([1, 2, 3, 4], [4, 9, 1, 1]))
  assert found.length_controlled == found.length_low == wins[0]


def test_lengths_that_tell_the_winner_apart_give_a_finite_fit():
  wins = [1.0, 1.0, 0.0, 0.0]
  found = win_rate(wins, lengths=([9, 9, 1, 1], [1, 1, 9, 9]))
  assert found.length_controlled == pytest.approx(0.5)


def test_resamples_are_fitted_piece_by_piece_alike(monkeypatch):
  rng = np.random.default_rng(3)
  args = rng.choice([0, 1], 40), rng.normal(0, 1, 40), np.arange(40) // 2
  whole = length_controlled(*args)
  monkeypatch.setattr(win_rates, "_AT_ONCE", 130)
  assert length_controlled(*args) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(
  ("wins", "sentence"),
  [([math.nan], "no comparison has a verdict"), ([1.5], "between 0 and 1")],
)
def test_mistakes_are_sentences(wins, sentence):
  with pytest.raises(UserError, match=sentence):
    win_rate(wins)
  with pytest.raises(UserError, match="at least 2 folds, not 1"):
    win_rate([1.0], folds=1)
