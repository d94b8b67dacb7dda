"""What several duels say together."""

import json

import numpy as np
import pytest
from scipy import stats

from offalign.generation.completions import Completions
from offalign.judges import contest, standings
from offalign.judges.gold import Gold

N = 80


@pytest.fixture
def duels():
  rng = np.random.default_rng(0)
  hard = rng.normal(0, 1, N)
  skill = {"good": 0.8, "fair": 0.7, "sft": 0.0}
  prompts = tuple(f"prompt {i}" for i in range(N))
  made = [
    Completions(
      name,
      prompts,
      tuple(f"{hard[i] + worth + rng.normal(0, 0.5):.3f}" for i in range(N)),
    )
    for name, worth in skill.items()
  ]
  return contest.contest(Gold.of(lambda prompt, text: float(text)), made)


def test_differences_are_the_paired_t_test_of_scipy(duels):
  (gap,) = standings.gaps(duels)
  assert (gap.a, gap.b, gap.against) == ("good", "fair", "sft")
  first, second = (np.array(d.found.outcomes) for d in duels[:2])
  theirs = stats.ttest_rel(first, second)
  assert gap.p == gap.estimate.p == pytest.approx(theirs.pvalue, rel=1e-6)
  assert gap.estimate.mean == pytest.approx((first - second).mean())
  (said,) = standings.sentences([gap])
  assert "good less fair, win rates against sft paired on 80 prompts" in said
  assert "not resolved" in said


def test_three_contestants_have_one_scale(duels):
  scale = standings.strengths(duels)
  assert [s.name for s in scale][-1] == "sft"
  assert sum(s.value for s in scale) == pytest.approx(0, abs=1e-8)
  assert all(s.low < s.value < s.high for s in scale)
  assert standings.strengths(duels[:1]) == []


def test_the_files_hold_every_outcome(duels, tmp_path):
  judge = Gold.of(lambda prompt, text: float(text))
  contest.write(tmp_path, judge, duels)
  record = json.loads((tmp_path / "winrates.json").read_text())
  assert len(record["prompt_ids"]) == N
  for duel, kept in zip(duels, record["duels"], strict=True):
    won = np.array([{"w": 1, "t": 0.5, "l": 0}[x] for x in kept["outcomes"]])
    assert won.mean() == pytest.approx(duel.found.rate)
    assert kept["win_rate"]["se"] == pytest.approx(stats.sem(won))
  assert record["differences"][0]["prompts"] == N
  assert len(record["bradley_terry"]) == 3
  report = (tmp_path / "winrates.md").read_text()
  assert "## One scale" in report
  assert f"With {N} prompts of which 0% are ties" in report


def test_without_a_verdict_there_is_nothing_to_say():
  silent = contest.Duel("a", "b", None, {}, (0, 0), ())
  assert standings.by_prompt(silent) == {}
  assert standings.power_line([silent]) == ""
  assert standings.gaps([silent]) == standings.gaps([]) == []
