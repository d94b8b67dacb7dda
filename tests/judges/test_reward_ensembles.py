"""Ensembles of reward models: how scores are combined, and what is refused."""

import merges
import numpy as np
import pytest
import runs

from offalign import judges
from offalign.data import Record
from offalign.errors import UserError
from offalign.generation.completions import Completions
from offalign.judges import scorers, scoring
from offalign.judges.reward_model import combined, common_scale
from offalign.policy import held_out

PAIRS = [("is 3 a number?", "yes"), ("is 3 a number?", "no"), ("a?", "yes")]


def test_scores_are_combined_as_numpy_does():
  rewards = np.array([[1.0, 2.0], [3.0, -1.0], [2.0, 8.0]])
  np.testing.assert_allclose(combined(rewards, "mean"), [2, 3])
  np.testing.assert_allclose(combined(rewards, "worst"), [1, -1])
  sd = np.sqrt([1, 21])
  found = combined(rewards, "mean_minus_sd", 0.5)
  np.testing.assert_allclose(found, [2, 3] - 0.5 * sd)
  np.testing.assert_allclose(combined(rewards, "mean_minus_sd", 0), [2, 3])


def test_one_scale_undoes_a_shift_and_a_stretch_of_a_model():
  plain = np.random.default_rng(0).normal(size=50)
  both = np.stack([plain, 4 * plain - 7])
  shift, stretch = common_scale(both)
  scaled = shift[:, None] + stretch[:, None] * both
  np.testing.assert_allclose(scaled[0], scaled[1])
  np.testing.assert_allclose(scaled[0].mean(), both.mean())
  np.testing.assert_allclose(scaled[0].std(), both.std(axis=1).mean())
  with pytest.raises(UserError, match="model 2 gives all held-out completions"):
    common_scale(np.stack([plain, 0 * plain]))


@pytest.mark.parametrize(
  ("options", "error"),
  [
    ("", "needs a run, or runs, and not both"),
    ("run=a, runs='a,b'", "needs a run, or runs, and not both"),
    ("runs=a", "must name two run folders or more"),
    ("runs='a,'", "must name two run folders or more"),
    ("runs='a, ./a'", "runs has a twice"),
    ("run=a, combine=mean", "combine is for an ensemble"),
    ("run=a, scale=none", "scale is for an ensemble"),
    ("runs='a,b', k=2", "k is for combine=mean_minus_sd"),
    ("runs='a,b', combine=mean_minus_sd, k=-1", "k must be 0 or above"),
    ("runs='a,b', combine=median", "must be one of mean, worst"),
  ],
)
def test_mistakes_are_sentences(options, error):
  with pytest.raises(UserError, match=error):
    judges.check(f"reward_model({options})")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  root = tmp_path_factory.mktemp("rm")
  log = runs.write_log(root / "log.jsonl", prompts=8)
  given = {"loss": "bradley_terry"}
  made = [merges.write(log, root / f"r{i}", i, **given) for i in (1, 2)]
  rows = [
    Record(f"is {i}?", ("yes", "no"), None, None, True, f"log:{i}")
    for i in range(3)
  ]
  held_out.write(made[0], rows, [], None)
  return made


@pytest.mark.usefixtures("compiled_once", "one_device")
class TestOfRuns:
  @staticmethod
  def scores(spec, pairs=PAIRS):
    return scorers.make(spec)(pairs)

  def test_it_combines_what_each_says(self, folders):
    each = np.stack(
      [self.scores(f"reward_model(run={str(f)!r})") for f in folders]
    ).astype(np.float64)
    runs_ = ",".join(map(str, folders))
    for combine in ("mean", "worst", "mean_minus_sd"):
      spec = f"reward_model(runs='{runs_}', combine={combine}, scale=none)"
      found = self.scores(spec)
      np.testing.assert_allclose(found, combined(each, combine), rtol=1e-6)
    judge = judges.make(f"reward_model(runs='{runs_}', scale=none)")
    assert judges.make(judge.spec).spec == judge.spec
    said = judge.compare(["a?", "a?"], ["yes", "yes"], ["no", "yes"])
    assert said.preferences[1] == 0.5
    assert said.counts["cut_prompts"] == 0

  def test_a_score_does_not_depend_on_the_others(self, folders):
    spec = f"reward_model(runs='{folders[0]},{folders[1]}', combine=worst)"
    whole = self.scores(spec)
    single = [self.scores(spec, [pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(whole, single, atol=1e-5)
    found = Completions("x", *map(tuple, zip(*PAIRS, strict=True)))
    np.testing.assert_array_equal(scoring.by_spec(found, spec)[0], whole)

  def test_a_first_run_without_held_out_rows_is_refused(self, folders):
    with pytest.raises(UserError, match="held out no rows, on which"):
      judges.make(f"reward_model(runs='{folders[1]},{folders[0]}')")
