"""What a log of feedback is like: its size, noise and kind of reward."""

import numpy as np
import pytest

from benchmarks import ops_log, ops_policy, ops_sizes
from benchmarks.methods import Method
from benchmarks.worlds.setting import WORLDS, Setting
from offalign import losses
from offalign.errors import UserError


def test_the_plain_setting_has_the_tracks_own_names():
  plain = Setting()
  assert (plain.scenario, plain.words) == ("L=0.37", [])
  assert "max_positions=18," in plain.model("decoder")
  other = Setting(WORLDS["edits"], k=1, noise=0.5, binary=True)
  assert other.scenario == "L=0.37, K=1, noise=0.5, binary"
  assert other.words == ["--world=edits", "--k=1", "--noise=0.5", "--binary"]
  assert "max_positions=25," in other.model("decoder")


@pytest.mark.parametrize(("k", "noise"), [(3, 0.0), (0, 0.0), (4, -1.0)])
def test_a_log_that_cannot_be_is_refused(k, noise):
  with pytest.raises(UserError):
    Setting(k=k, noise=noise)


def test_noise_and_thumbs_are_of_the_logged_rewards():
  rewards = np.random.default_rng(0).normal(size=(500, 4))
  noisy = Setting(noise=0.5).logged(rewards, 0)
  assert (noisy - rewards).std() == pytest.approx(0.5, rel=0.1)
  assert abs((noisy - rewards).mean()) < 0.05
  assert (noisy != Setting(noise=0.5).logged(rewards, 1)).any()
  thumbs = Setting(binary=True).logged(rewards, 0)
  assert set(np.unique(thumbs)) == {0.0, 1.0}
  assert thumbs.mean() == pytest.approx(0.5, abs=0.01)
  np.testing.assert_array_equal(Setting().logged(rewards, 0), rewards)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edits", "sums"])
def test_a_world_with_one_completion_a_prompt_has_a_log(small, name):
  setting = Setting(WORLDS[name], k=1)
  base = ops_policy.prepare("decoder", setting=setting)
  feedback = ops_log.collect(base, 0)
  assert feedback.rewards.shape == (ops_sizes.PROMPTS * ops_sizes.K, 1)
  view, rows, _ = ops_log.view(Method("dro_v"), losses.get("dro_v"), feedback)
  assert view == "single, reward"
  assert len(rows.prompts) == len(feedback.prompts)
  for spec in ("dpo", "dro_group", "kto(threshold=prompt)"):
    with pytest.raises(UserError, match="the log has one"):
      ops_log.view(Method(spec), losses.get(spec), feedback)
