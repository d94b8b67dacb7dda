"""A run in rounds ends where the held-out score falls."""

import chex
import pytest
import rounds
import runs

from offalign import Run
from offalign.config import Config
from offalign.config.grow import GrowConfig
from offalign.errors import UserError
from offalign.training.rounds import stopping
from offalign.training.rounds.growing import Growing
from offalign.training.rounds.stopping import Stopping


def following(after, *scores):
  made = Stopping(after)
  for step, score in enumerate(scores):
    made.note(step, {"eval_score": score})
  return made


@pytest.mark.parametrize(
  ("after", "scores", "fallen"),
  [
    (1, (), False),
    (1, (0.5,), False),
    (1, (0.5, 0.4), True),
    (1, (0.5, 0.5), False),  # which did not fall
    (2, (0.5, 0.4), False),
    (2, (0.5, 0.4, 0.45), True),
    (2, (0.5, 0.4, 0.6, 0.5), False),
  ],
)
def test_a_score_has_fallen_when_the_newest_are_below_the_best(
  after, scores, fallen
):
  assert following(after, *scores).has_fallen is fallen


def test_what_was_logged_later_than_a_run_goes_on_does_not_count():
  lines = [{"step": 0, "eval_score": 2.0}, {"step": 4, "eval_score": 1.0}]
  config = Config(grow=GrowConfig(score="s.py:f", stop=1))
  assert Stopping.of(config, lines, 4).has_fallen
  assert not Stopping.of(config, lines, 2).has_fallen
  assert Stopping.of(Config(), lines, 4) is None


def test_it_is_refused_where_nothing_is_scored():
  config = Config(grow=GrowConfig(score="s.py:f", stop=1))
  stopping.check(config, scores=True)
  with pytest.raises(UserError, match=r"grow\.stop=1 is set, but no held"):
    stopping.check(config, scores=False)


SCORES = {0: 0.1, 2: 0.5, 4: 0.4, 6: 0.3}


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_ends_and_with_a_larger_number_goes_on_to_the_same_bits(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(
    Growing, "evaluate", lambda self, step, policy: {"eval_score": SCORES[step]}
  )

  def options(out, stop):
    grow = {"rounds": 3, "every": 2, "stop": stop}
    # Its last checkpoint before the end is another step.
    return rounds.options(tmp_path / out, grow=grow, save_every=3)

  run = Run(**options("run", 1))
  policy = run.train()
  said = "step 4: the held-out score is 0.4, and was 0.5 after step 2"
  assert said in capsys.readouterr().out
  assert policy.step == 4
  assert [x["step"] for x in rounds.of_rounds(run.folder)] == [1, 3]
  assert Run(**options("run", 1)).train().step == 4
  assert f"ended early. {said}" in capsys.readouterr().out
  assert Run(**options("run", 9)).train(verbose=False).step == 6
  whole = Run(**options("whole", None))
  assert whole.train(verbose=False).step == 6
  assert runs.metrics(run.folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(
    runs.state_of(whole, run.folder), runs.state_of(whole)
  )
