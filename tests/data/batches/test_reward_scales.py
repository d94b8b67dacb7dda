"""Scales of rewards: what they make of them, and how they are kept."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from offalign.data import RewardScale, RewardScales, normalize
from offalign.data.batches import reward_scales
from offalign.errors import UserError

rows = st.lists(
  st.tuples(st.sampled_from("xyz"), st.integers(-4, 4).map(float)),
  min_size=2,
  max_size=20,
)


def columns(rows):
  keys, rewards = zip(*rows, strict=True)
  sources = [(f"f:{i}",) for i in range(len(rows))]
  return np.array(rewards)[:, None], list(keys), sources


@hypothesis.given(rows)
def test_each_prompt_has_mean_0_and_variance_1_or_is_0(rows):
  rewards, keys, sources = columns(rows)
  found = reward_scales.fit(rewards, "prompt", keys, sources)
  scaled = found.apply(rewards, keys)[:, 0]
  flat = 0
  for key in set(keys):
    mine = scaled[np.array(keys) == key]
    logged = rewards[np.array(keys) == key]
    np.testing.assert_allclose(mine.mean(), 0.0, atol=1e-6)
    if logged.min() == logged.max():
      flat += 1
      assert not mine.any()
    else:
      np.testing.assert_allclose(mine.std(), 1.0, rtol=1e-6)
  assert found.flat == flat


def test_a_completion_of_many_pairs_counts_once():
  rewards = np.array([[3.0, 0.0], [3.0, 1.0], [1.0, 0.0]])
  names = [("f:0", "f:1"), ("f:0", "f:2"), ("f:2", "f:1")]
  found = reward_scales.fit(rewards, "prompt", ["x"] * 3, names).scale("x")
  each = np.array([3.0, 0.0, 1.0])
  assert (found.mean, found.std) == pytest.approx((each.mean(), each.std()))


def test_by_data_set_it_is_the_scale_of_all_rows():
  rewards = np.array([[0.1], [0.7], [0.2]], np.float32)
  scaled, one = normalize(rewards)
  found = reward_scales.fit(rewards, "dataset", [""] * 3, [])
  assert found.scale() == one
  assert found.apply(rewards, [""] * 3).tobytes() == scaled.tobytes()
  # Rows that are drawn twice as often count twice.
  weighted = reward_scales.fit(
    rewards, "dataset", [""] * 3, [], np.array([2.0, 1.0, 1.0])
  )
  twice = normalize(rewards[[0, 0, 1, 2]])[1]
  assert weighted.scale().mean == pytest.approx(twice.mean)
  assert weighted.scale().std == pytest.approx(twice.std)


def test_by_source_each_has_its_own():
  rewards, keys = np.array([[1.0], [3.0], [10.0], [30.0]]), list("aabb")
  found = reward_scales.fit(rewards, "source", keys, [], np.ones(4))
  assert found.apply(rewards, keys).ravel().tolist() == [-1.0, 1.0, -1.0, 1.0]
  with pytest.raises(UserError, match=r"^b: the rewards cannot be normalised"):
    reward_scales.fit(
      np.array([[1.0], [3.0], [2.0]]), "source", list("aab"), []
    )
  with pytest.raises(UserError, match="no reward scale of source 'c'"):
    found.apply(rewards[:1], ["c"])


CASES = [
  RewardScales("dataset", {"": RewardScale(0.1, 1 / 3)}),
  RewardScales(
    "source", {"a": RewardScale(0.1, 2.0), "b": RewardScale(1, 3.0)}
  ),
  RewardScales(
    "prompt", {"0f": RewardScale(0.1, 0.0), "1f": RewardScale(1, 3.0)}
  ),
]


def keep(folder, found):
  about = {"reward_scale": found and found.summary()}
  (folder / "run.json").write_text(json.dumps(about))
  text = found and found.file()
  if text:
    (folder / reward_scales.FILE).write_text(text)


@pytest.mark.parametrize("found", [*CASES, None])
def test_what_is_kept_is_found_again_to_the_bit(found, tmp_path):
  keep(tmp_path, found)
  assert reward_scales.read(tmp_path) == found


def test_kept_scales_that_are_not_whole_are_refused(tmp_path):
  with pytest.raises(UserError, match="is no run folder"):
    reward_scales.read(tmp_path)
  keep(tmp_path, CASES[2])
  (tmp_path / reward_scales.FILE).write_text('{"0f": [0.2, 0.0]}')
  with pytest.raises(UserError, match="not the file that the run wrote"):
    reward_scales.read(tmp_path)
  (tmp_path / reward_scales.FILE).unlink()
  with pytest.raises(UserError, match=r"cannot be read .*put it back"):
    reward_scales.read(tmp_path)
