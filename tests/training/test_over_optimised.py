"""The warning that a score rises while what judges beside it falls."""

import json

import pytest

from offalign import losses
from offalign.policy import folder
from offalign.training import health, over_optimised
from offalign.training.over_optimised import ACCURACY, JUDGE, SCORE

WIN = "eval_win_rate/sft"


def rounds(scores, judged, name=JUDGE, errors=None):
  """Evaluations every two steps."""
  lines = []
  for i, (score, value) in enumerate(zip(scores, judged, strict=True)):
    line = {"step": 2 * i, SCORE: score, name: value}
    if errors:
      line |= {f"{SCORE}_error": errors, f"{name}_error": errors}
    lines.append(line)
  return lines


UP, HUMP = [0.1, 0.2, 0.4, 0.6, 0.8], [0.1, 0.5, 0.6, 0.4, 0.3]


def test_the_sentence_names_steps_and_figures():
  said = over_optimised.warning(rounds(UP, HUMP, errors=0.05))
  assert said is not None
  assert "rises (0.4 at step 4, 0.8 at step 8)" in said
  assert "while the held-out judge falls (0.6 to 0.3)" in said
  assert "checkpoint of about step 4" in said
  said = over_optimised.warning(rounds(UP, HUMP, WIN))
  assert "the win rate against the start falls" in said
  said = over_optimised.warning(rounds(UP, HUMP, ACCURACY))
  assert "the accuracy on held-out pairs falls" in said


@pytest.mark.parametrize(
  "lines",
  [
    [],
    rounds(UP[:2], [0.6, 0.1]),  # two evaluations are no trend
    rounds(UP, UP),  # both rise
    rounds(UP[::-1], HUMP),  # the score falls too
    rounds(UP, [0.1, 0.5, 0.6, 0.7, 0.3]),  # one bad evaluation
    rounds(UP, HUMP, errors=0.25),  # within the noise
    rounds(UP, [0.5, 0.52, 0.53, 0.49, 0.49], WIN),  # by less than a share
    [{k: v for k, v in x.items() if k != SCORE} for x in rounds(UP, HUMP)],
    [{k: v for k, v in x.items() if k != JUDGE} for x in rounds(UP, HUMP)],
  ],
)
def test_nothing_is_said_where_nothing_is_wrong(lines):
  assert over_optimised.warning(lines) is None


def test_a_judge_of_other_steps_is_compared_with_the_newest_score():
  lines = []
  for i, (score, value) in enumerate(zip(UP, HUMP, strict=True)):
    lines += [{"step": 4 * i, SCORE: score}, {"step": 4 * i + 1, WIN: value}]
  assert "checkpoint of about step 9" in over_optimised.warning(lines)


def test_a_run_says_it_once_and_keeps_it(tmp_path):
  said = []
  loss = losses.get("sft")
  watched = health.Health(tmp_path, [], loss, {}, said.append)
  for line in rounds([*UP, 0.9], [*HUMP, 0.2]):
    watched.see(line["step"], line)
  assert len(said) == 1
  assert said[0].startswith("warning: the score of held-out prompts rises")
  (kept,) = health.read(tmp_path)
  assert (kept.step, kept.kind) == (8, "over_optimised")


def test_warnings_are_those_up_to_a_step(tmp_path):
  assert folder.read_warnings(tmp_path, 9) == []
  told = [{"step": s, "kind": "far", "sentence": f"at {s}"} for s in (2, 8)]
  path = tmp_path / folder.HEALTH
  path.write_text(json.dumps({"warnings": told}))
  assert folder.read_warnings(tmp_path, 7) == ["at 2"]
  assert folder.read_warnings(tmp_path, 8) == ["at 2", "at 8"]
  path.write_text('{"warnings": [{}]}')
  assert folder.read_warnings(tmp_path, 8) == []
