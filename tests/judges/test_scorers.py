"""Judges that give each completion a number."""

import misbehaving
import numpy as np
import pytest
from misbehaving import filtered, status

from offalign.errors import UserError
from offalign.judges import scorers


@pytest.fixture
def server():
  with misbehaving.running() as found:
    yield found


def test_a_function_scores_each_completion(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("def long(prompt, text):\n  return len(prompt + text)\n")
  score = scorers.make(f"{file}:long")
  asked = (("user", "hi"),)
  assert score([("a", "bc"), (asked, "")]).tolist() == [3, len("user: hi")]
  assert (score.alone, score.partial) == (True, False)
  assert scorers.is_alone(f"{file}:nothing_is_run")


def test_an_endpoint_rates_or_compares(server):
  pairs = [("p", "a"), ("p", "abc"), ("p", "ab")]
  rates = scorers.make(server.spec(rubric="default"))
  assert rates(pairs).tolist() == [1, 3, 2]
  compares = scorers.make(server.spec())
  assert compares(pairs).tolist() == [0, 1, 0.5]
  for score, alone in ((rates, True), (compares, False)):
    assert (score.partial, score.alone) == (True, alone)
    assert scorers.is_alone(score.spec) == alone


@pytest.mark.parametrize("rubric", [None, "default"])
def test_questions_that_may_yet_be_answered_are_no_missing_scores(
  server, rubric
):
  options = {"retries": 0, "workers": 1}
  options |= {"rubric": rubric} if rubric else {}
  pairs = [("p", "a"), ("p", "ab"), ("q", "a"), ("q", "ab")]
  server.plan["p"] = [filtered, filtered]
  found = scorers.make(server.spec(**options))(pairs)
  assert np.isnan(found).tolist() == [True, True, False, False]
  server.plan["q"] = [status(500)]
  with pytest.raises(UserError, match=r"left 1 question unanswered \(HTTP 50"):
    scorers.make(server.spec(**options))(pairs)
  with pytest.raises(UserError, match=r"with [23] questions not asked; it"):
    scorers.make(server.spec(max_calls=1, **options))(pairs)


def test_ratings_of_people_score_nothing_new(tmp_path):
  file = tmp_path / "r.jsonl"
  file.write_text(
    '{"prompt": "p", "left": "a", "right": "b", "preferred": "left"}\n'
  )
  with pytest.raises(UserError, match="gives none a score: name a function"):
    scorers.make(f"ratings(file={str(file)!r})")
