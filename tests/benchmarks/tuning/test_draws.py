"""Records of draws survive a kill, and the expected best of k is exact."""

import itertools
import json
import math

import numpy as np
import pytest

from benchmarks.tuning.draws import Draw, Records, best, expected_best, read
from offalign.errors import UserError


def made(number, win=0.5, error=""):
  return Draw(
    model="decoder",
    line="dpo",
    draw=number,
    loss="dpo(beta=1)",
    learning_rate=1e-3,
    value_learning_rate=None,
    win=win,
    kl=0.25,
    seconds=1.5,
    error=error,
  )


def test_records_are_read_back_and_a_line_cut_off_is_made_again(tmp_path):
  about = {"draws": 2}
  records = Records(tmp_path, about)
  records.add(made(0))
  records.add(made(1, math.nan, "it diverged"))
  path = tmp_path / "draws.jsonl"
  with path.open("a") as file:
    file.write(json.dumps({"model": "decoder"})[:9])
  again = Records(tmp_path, about)
  assert list(again.found) == [("decoder", "dpo", 0), ("decoder", "dpo", 1)]
  assert again.found["decoder", "dpo", 0] == made(0)
  assert math.isnan(again.found["decoder", "dpo", 1].win)
  again.add(made(2))
  assert [draw.draw for draw in read(path)] == [0, 1, 2]


def test_another_command_does_not_go_on(tmp_path):
  Records(tmp_path, {"draws": 2})
  with pytest.raises(UserError, match="its draws is 2 and not 8"):
    Records(tmp_path, {"draws": 8})


def test_a_line_in_the_middle_that_is_no_draw_is_an_error(tmp_path):
  records = Records(tmp_path, {})
  path = tmp_path / "draws.jsonl"
  path.write_text("{}\n")
  records.add(made(0))
  with pytest.raises(UserError, match=r"draws\.jsonl:1 is no draw"):
    read(path)


def test_the_best_is_the_first_of_the_highest_and_never_a_failed_one():
  draws = [made(0, math.nan, "no"), made(1, 0.6), made(2, 0.6), made(3, 0.5)]
  assert best(draws).draw == 1
  assert best(draws[:1]) is None


def test_the_expected_best_is_the_mean_over_all_choices():
  wins = np.random.default_rng(0).random(6).tolist()
  for k, value in enumerate(expected_best(wins), 1):
    exact = np.mean([max(c) for c in itertools.combinations(wins, k)])
    assert value == pytest.approx(exact, abs=1e-12)
  assert expected_best([math.nan, 0.8]) == pytest.approx([0.4, 0.8])
