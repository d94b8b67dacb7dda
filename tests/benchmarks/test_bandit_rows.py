import math

import numpy as np
import pytest

from benchmarks import bandit_metrics as metrics
from benchmarks import bandit_rows as rows
from benchmarks import bandit_world as world
from offalign.data.batches.batch import next_valid
from offalign.errors import UserError


@pytest.fixture(scope="module", params=[False, True], ids=["on", "off-policy"])
def bandit(request):
  return world.make(0.5, prompts=6, arms=4, off_policy=request.param, seed=0)


def table(bandit, some, column):
  """sum of weight * column over the rows of each cell: [X, Y]."""
  out = np.zeros(bandit.mu.shape)
  np.add.at(out, (some.prompts, some.completions[:, 0]), some.weight * column)
  return out


def test_single_rows_are_an_expectation(bandit):
  some = rows.single_rows(bandit)
  np.testing.assert_allclose(table(bandit, some, 1.0), bandit.mu / 6)
  assert some.weight.sum() == pytest.approx(1.0)
  reward = (bandit.mu * bandit.rewards).sum() / 6
  assert some.weight @ some.rewards[:, 0] == pytest.approx(reward)
  assert some.prompts.shape == (24,)
  assert some.completions.shape == some.ref_logps.shape == (24, 1)
  assert some.prompts.dtype == some.completions.dtype == np.int32
  assert some.labels is None


def test_labelled_rows_split_each_cell_by_its_chance(bandit):
  some = rows.labelled_rows(bandit, batch=8)
  np.testing.assert_allclose(table(bandit, some, 1.0), bandit.mu / 6)
  chance = table(bandit, some, some.labels[:, 0]) / (bandit.mu / 6)
  x, y = 2, 1
  z = bandit.rewards[x, y] * math.sqrt(8)
  assert chance[x, y] == pytest.approx(0.5 + 0.5 * math.erf(z / math.sqrt(2)))
  order = np.argsort(bandit.rewards.ravel())
  assert (np.diff(chance.ravel()[order]) >= 0).all()


def test_no_labelled_row_vanishes_however_sure_its_label(bandit):
  some = rows.labelled_rows(bandit, batch=100_000)
  assert len(some.weight) == 48
  assert (some.weight.astype(np.float32) > 0).all()


def test_prompt_labels_compare_with_the_mean_of_the_prompt(bandit):
  some = rows.prompt_labelled_rows(bandit)
  mean = (bandit.mu * bandit.rewards).sum(axis=1, keepdims=True)
  np.testing.assert_array_equal(
    table(bandit, some, some.labels[:, 0]) > 0, bandit.rewards > mean
  )
  assert some.weight.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
  "make", [rows.single_rows, rows.labelled_rows, rows.prompt_labelled_rows]
)
def test_the_next_rows_make_an_exact_mismatched_expectation(bandit, make):
  """What the module's docstring promises of the learner's KL estimate."""
  log_ratio = np.random.default_rng(0).standard_normal(bandit.mu.shape)
  some = make(bandit)
  following = np.asarray(next_valid(some.weight.astype(np.float32)))
  y = some.completions[following, 0]
  estimate = some.weight[following] @ log_ratio[some.prompts, y]
  mismatched = np.roll(bandit.mu, -1, axis=0)  # mu(. | x + 1 mod X)
  expected = (mismatched * log_ratio).sum(axis=1).mean()
  assert estimate / some.weight.sum() == pytest.approx(expected, abs=1e-12)
  assert (some.prompts != some.prompts[following]).all()


def softmax_gradient(bandit, some, slope, log_policy):
  """d/d logits of sum w f(rho_0 - rho_1), with f' = slope; [X, Y]."""
  x, (first, second) = some.prompts, some.completions.T
  out = np.zeros(bandit.mu.shape)
  # The normaliser of a prompt's log-probs cancels in a difference.
  np.add.at(out, (x, first), some.weight * slope)
  np.add.at(out, (x, second), -some.weight * slope)
  return out


def gaps(bandit, some, log_policy):
  rho = log_policy - bandit.log_ref
  each = rho[some.prompts[:, None], some.completions]
  return each[:, 0] - each[:, 1]


def test_bt_pairs_have_pi_star_as_the_stationary_point_of_dpo(bandit):
  best = metrics.optimum(bandit, 0.7).log_policy
  some = rows.pair_rows(bandit)
  z = 0.7 * gaps(bandit, some, best)
  slope = -1 / (1 + np.exp(z))
  np.testing.assert_allclose(
    softmax_gradient(bandit, some, slope, best), 0.0, atol=1e-15
  )
  at_ref = softmax_gradient(bandit, some, np.full(len(z), -0.5), best)
  assert np.abs(at_ref).max() > 1e-3


def test_bt_pair_weights(bandit):
  some = rows.pair_rows(bandit)
  assert len(some.weight) == 6 * 4 * 3
  assert (some.completions[:, 0] != some.completions[:, 1]).all()
  total = 1 - (bandit.mu**2).sum(axis=1).mean()
  assert some.weight.sum() == pytest.approx(total)
  i = 17
  x, (y, z) = some.prompts[i], some.completions[i]
  margin = bandit.rewards[x, y] - bandit.rewards[x, z]
  assert some.weight[i] == pytest.approx(
    2 * bandit.mu[x, y] * bandit.mu[x, z] / (1 + math.exp(-margin)) / 6
  )
  np.testing.assert_allclose(some.rewards[i, 0] - some.rewards[i, 1], margin)
  assert some.ref_logps[i].tolist() == bandit.log_ref[x, [y, z]].tolist()


def test_det_pairs_put_the_higher_reward_first(bandit):
  some = rows.pair_rows(bandit, "det")
  assert len(some.weight) == 6 * 4 * 3 / 2
  assert (some.rewards[:, 0] > some.rewards[:, 1]).all()
  total = 1 - (bandit.mu**2).sum(axis=1).mean()
  assert some.weight.sum() == pytest.approx(total)


def test_det_pairs_leave_out_ties():
  binary = world.make(0.5, prompts=6, arms=4, binary=True, seed=0)
  some = rows.pair_rows(binary, "det")
  ups = (binary.rewards > 0).sum(axis=1)
  assert len(some.weight) == (ups * (4 - ups)).sum()
  assert (some.rewards[:, 0] > some.rewards[:, 1]).all()


def test_reward_pairs_have_no_order_and_vanish_at_pi_star(bandit):
  some = rows.reward_pair_rows(bandit)
  assert len(some.weight) == 6 * 4 * 3 / 2
  assert (some.completions[:, 0] < some.completions[:, 1]).all()
  total = 1 - (bandit.mu**2).sum(axis=1).mean()
  assert some.weight.sum() == pytest.approx(total)
  gap = gaps(bandit, some, metrics.optimum(bandit, 0.7).log_policy)
  np.testing.assert_allclose(
    0.7 * gap, some.rewards[:, 0] - some.rewards[:, 1], atol=1e-12
  )


def test_rows_of_counts_skip_what_was_not_seen(bandit):
  few = world.empirical(bandit, 3, np.random.default_rng(0))
  some = rows.single_rows(few)
  assert len(some.weight) == (few.mu > 0).sum() < 24
  assert some.weight.sum() == pytest.approx(1.0)
  assert (rows.pair_rows(few).weight > 0).all()
  labelled = rows.labelled_rows(few)
  assert labelled.labels.shape == (len(labelled.weight), 1)


def test_what_does_not_fit_is_refused(bandit):
  with pytest.raises(UserError, match="at least one completion, not 0"):
    rows.labelled_rows(bandit, batch=0)
  with pytest.raises(UserError, match="'bt' or 'det', not 'gold'"):
    rows.pair_rows(bandit, "gold")


def test_centred_rewards_have_mean_0_under_mu_in_each_prompt(bandit):
  some = rows.centred_rows(bandit)
  means = table(bandit, some, some.rewards[:, 0]).sum(axis=1)
  np.testing.assert_allclose(means, 0.0, atol=1e-12)
  plain = rows.single_rows(bandit)
  np.testing.assert_array_equal(some.weight, plain.weight)
  shift = plain.rewards - some.rewards
  for x in range(6):
    assert np.ptp(shift[some.prompts == x]) < 1e-12


def test_a_group_has_every_arm_once(bandit):
  some = rows.group_rows(bandit)
  assert some.completions.tolist() == [[0, 1, 2, 3]] * 6
  np.testing.assert_array_equal(some.rewards, bandit.rewards)
  np.testing.assert_array_equal(some.ref_logps, bandit.log_ref)
  np.testing.assert_allclose(some.weight, 1 / 6)


def test_reference_groups_have_the_shares_of_the_reference(bandit):
  some = rows.reference_group_rows(bandit, 50)
  counts = np.stack([np.bincount(c, minlength=4) for c in some.completions])
  assert counts.sum(axis=1).tolist() == [50] * 6
  assert (np.abs(counts - 50 * np.exp(bandit.log_ref)) < 1).all()
  with pytest.raises(UserError, match="two completions or more"):
    rows.reference_group_rows(bandit, 1)
