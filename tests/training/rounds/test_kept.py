"""Folders of rounds: whole or not there."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.data.text.ragged import Ragged
from offalign.errors import UserError
from offalign.training.rounds import kept as kept_lib
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.kept import Kept, Samples

SAMPLES = Samples(
  np.array([3, 1]),
  Drawn(
    Ragged.of([np.array(t, np.int32) for t in ([1, 2], [3], [4, 5, 6], [7])]),
    np.array([-1.5, -2, -3, -0.25], np.float32),
    Ragged.of(
      [np.array(t) for t in ([-0.5, -1], [-2], [-1, -1, -1], [-0.25])],
      np.float32,
    ),
    np.array([True, False, True, True]),
  ),
  np.array([[0.1, 0.2], [1 / 3, -4.0]]),
)


def test_samples_come_back_to_the_bit(tmp_path):
  kept = Kept(tmp_path)
  with kept.making(7) as folder:
    assert not kept.has(7)
    texts = ["ab", "é", "", "x"]
    kept_lib.write_samples(folder, SAMPLES, ["p", (("user", "q"),)], texts)
    kept_lib.write_about(folder, {"round": 7, "metrics": {"a": 0.1}})
  assert kept.has(7)
  found = kept.samples(7)
  for name in ("prompts", "scores"):
    np.testing.assert_array_equal(getattr(found, name), getattr(SAMPLES, name))
  for name in ("logps", "finished"):
    one, other = getattr(found.drawn, name), getattr(SAMPLES.drawn, name)
    np.testing.assert_array_equal(one, other)
  assert [t.tolist() for t in found.drawn.tokens] == [
    [1, 2],
    [3],
    [4, 5, 6],
    [7],
  ]
  one, other = found.drawn.token_logps, SAMPLES.drawn.token_logps
  np.testing.assert_array_equal(one.tokens, other.tokens)
  np.testing.assert_array_equal(one.offsets, other.offsets)
  assert kept.about(7) == {"round": 7, "metrics": {"a": 0.1}}
  lines = (kept.path(7) / "samples.jsonl").read_text().splitlines()
  assert json.loads(lines[3]) == {
    "prompt": [{"role": "user", "content": "q"}],
    "completion": "x",
    "reward": -4.0,
    "completion_ids": [7],
    "logprobs": [-0.25],
    "tokens": 1,
    "finished": True,
  }


def test_a_round_that_was_cut_off_is_not_there_and_is_made_anew(tmp_path):
  kept = Kept(tmp_path)

  def cut_off():
    with kept.making(2) as folder:
      (folder / "half").write_text("x")
      raise RuntimeError

  with pytest.raises(RuntimeError):
    cut_off()
  assert not kept.has(2)
  with kept.making(2) as folder:
    assert not list(folder.iterdir())
  assert kept.has(2)
  assert [path.name for path in (tmp_path / "rounds").iterdir()] == ["2"]


def test_damage_is_named(tmp_path):
  kept = Kept(tmp_path)
  with kept.making(1) as folder:
    (folder / "samples.npz").write_bytes(b"PK")
  with pytest.raises(UserError, match=r"rounds/1/samples.npz cannot be read"):
    kept.samples(1)


def test_averages_come_back_and_old_ones_go(tmp_path):
  kept = Kept(tmp_path)
  params = {"a": jnp.arange(3.0), "b": {"c": jnp.ones((2, 2), jnp.bfloat16)}}
  for number in (1, 2, 3):
    with kept.making(number) as folder:
      kept_lib.write_average(folder, params)
  found = kept.average(2, params)
  jax.tree.map(np.testing.assert_array_equal, found, params)
  assert found["b"]["c"].dtype == jnp.bfloat16
  kept.forget_averages(3)
  with pytest.raises(UserError, match=r"average.npz cannot be read"):
    kept.average(2, params)
  kept.average(3, params)
