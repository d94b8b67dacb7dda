"""What scores the samples of rounds, from a function to an endpoint."""

import misbehaving
import numpy as np
import pytest
import rounds
import runs
from misbehaving import filtered

from offalign import Run
from offalign.config import GrowConfig
from offalign.config.grow import Function
from offalign.errors import UserError
from offalign.judges.scorers import unwatched
from offalign.training.rounds import scoring
from offalign.training.rounds.kept import Kept
from offalign.training.rounds.scoring import HELD_JUDGE, HELD_SCORE

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.fixture
def server():
  with misbehaving.running() as found:
    found.rate = lambda prompt, text: str(1 + sum(map(ord, text)) % 9)
    found.judge = lambda prompt, left, right: "A" if left > right else "B"
    yield found


def rated(server, **options):
  return server.spec(rubric="default", retries=0, **options)


def test_a_judge_needs_held_out_prompts():
  grow = GrowConfig(score="f", judge="offalign.py:g")
  with pytest.raises(UserError, match="none are held out"):
    scoring.judge(grow, ())
  with pytest.raises(UserError, match=r"grow\.judge=offalign\.py:g"):
    scoring.judge(grow, ("a",))
  assert scoring.judge(GrowConfig(score="f"), ()) is None


def test_a_function_at_hand_scores():
  score = scoring.scorer(Function(lambda prompt, text: len(text)))
  assert score([("a", "bcd")]).tolist() == [3]
  with pytest.raises(UserError, match=r"grow.score=nobody: there is no judge"):
    scoring.scorer("nobody")


def test_what_is_logged_of_held_out_prompts(server):
  by, compares = Function(len), server.spec()
  names = scoring.held_names
  assert names(GrowConfig(score=by)) == {HELD_SCORE}
  assert names(GrowConfig(score=by, eval_prompts=0)) == set()
  assert names(GrowConfig(score=rated(server))) == {HELD_SCORE}
  assert names(GrowConfig(score=compares)) == set()
  both = GrowConfig(score=compares, judge="f")
  assert names(both) == {HELD_JUDGE}
  with pytest.raises(UserError, match="each held-out prompt has one: have it"):
    scoring.judge(GrowConfig(score=by, judge=compares), ("p",))


def test_most_samples_must_have_a_score(server, capsys):
  score = scoring.scorer(rated(server))
  pairs = [(f"p{i}", "ab") for i in range(4)]
  server.plan["p1"] = ["none"]
  server.plan["p2"] = [filtered]
  found = scoring.numbers(score, pairs, unwatched)
  assert np.isnan(found).tolist() == [False, True, True, False]
  said = "2 of 4 completions got no score (answers malformed: 1, refused: 1)"
  assert f"{said}, and are left out" in capsys.readouterr().out
  server.plan["new"] = ["none", "none"]
  score = scoring.scorer(rated(server, workers=1))
  pairs = [("new", "a"), ("new", "b"), ("p0", "ab")]
  said = r"2 of 3 completions got no score.*are asked for again where"
  with pytest.raises(UserError, match=said):
    scoring.numbers(score, pairs, unwatched)
  # Of what is only watched none has to have one.
  found = scoring.numbers(score, pairs, unwatched, least=0)
  assert np.isnan(found).tolist() == [True, True, False]


def test_a_model_that_cannot_follow_the_question_is_known_at_once(
  server, tmp_path
):
  server.rate = lambda *_: "As a language model, I like both."
  said = rounds.refused(tmp_path, "dro_v", grow={"score": rated(server)})
  assert "asked about two replies, and gave neither a score (answers malfo" in (
    said
  )
  assert len(server.seen) == 2


def test_held_out_prompts_without_scores_have_no_mean(server, tmp_path):
  grow = {"score": lambda prompt, text: len(text), "rounds": 1}
  grow |= {"judge": rated(server), "eval_prompts": 1}
  usual, asked = server.rate, []

  def rate(prompt, text):
    asked.append(text)
    return usual(prompt, text) if len(asked) <= 2 else "no"

  server.rate = rate
  out = tmp_path / "run"
  rounds.train(out, "dro_v", grow=grow, eval_every=1)
  held = [line for line in runs.metrics(out) if HELD_SCORE in line]
  assert len(asked) > 2  # more than the probe
  assert held
  assert not any(HELD_JUDGE in line for line in held)


def test_how_an_endpoint_is_asked_may_change_in_a_run_that_goes_on(
  server, tmp_path
):
  out = tmp_path / "run"
  server.rate = lambda prompt, text: str(1 + sum(map(ord, prompt + text)) % 9)

  def run(**options):
    grow = {"score": server.spec(rubric="default", **options), "rounds": 1}
    rounds.train(out, "dro_v", grow={**grow, "eval_prompts": 0, "samples": 2})

  with pytest.raises(UserError, match="max_calls=2 was reached with"):
    run(max_calls=2, workers=1)
  asked = server.seen[2:]  # after the probe
  run(max_calls=40, retries=1)
  assert len(asked) == 2
  assert not set(asked) & set(server.seen[4 + 2 :])
  with pytest.raises(UserError, match="holds a run with other options"):
    run(highest=5.0)


@pytest.mark.parametrize("how", ["rubric", "comparison"])
def test_an_endpoint_scores_and_a_run_that_failed_asks_for_the_rest(
  server, tmp_path, how
):
  loss = "rloo(beta=0.0)"
  spec = rated(server) if how == "rubric" else server.spec(retries=0)
  grow = {"score": spec, "rounds": 2, "samples": 3}
  whole = tmp_path / "whole"
  rounds.train(whole, loss, grow=grow)
  asked, first = set(server.seen), Kept(whole).samples(1)
  lines = rounds.said(whole, 1)
  for line, row in zip(lines, first.scores.reshape(-1), strict=True):
    assert line["reward"] == row
  texts = [line["completion"] for line in lines]
  if how == "rubric":
    assert first.scores.reshape(-1).tolist() == [
      float(server.rate("", text)) for text in texts
    ]
  else:
    for i in range(0, len(texts), 3):
      of = np.array(texts[i : i + 3], object)
      beats = (of[:, None] > of) + 0.5 * (of[:, None] == of)
      np.testing.assert_allclose(first.scores[i // 3], (beats.sum(1) - 0.5) / 2)
  logged = runs.metrics(whole)
  has = any(HELD_SCORE in line for line in logged)
  assert has == (how == "rubric")
  assert rounds.of_rounds(whole)[0]["objective/no_score"] == 0

  # The endpoint breaks down in the middle of the second round.
  dying = tmp_path / "dying"
  prompts = [{line["prompt"] for line in rounds.said(whole, n)} for n in (1, 2)]
  later = sorted(prompts[1] - prompts[0])[:1]
  usual = server.rate, server.judge
  broken = misbehaving.status(500)
  server.rate = lambda p, *x: broken if p in later else usual[0](p, *x)
  server.judge = lambda p, *x: broken if p in later else usual[1](p, *x)
  del server.seen[:]
  with pytest.raises(UserError, match=r"grow.score=.*unanswered \(HTTP 500\)"):
    Run(**rounds.options(dying, loss, grow=grow)).train(verbose=False)
  server.rate, server.judge = usual
  known = {x for x in server.seen if x[0] not in later}
  del server.seen[:]
  rounds.train(dying, loss, grow=grow)
  probed = {x for x in server.seen if {"Yes.", "No."} & set(x)}
  assert set(server.seen) - probed == asked - known - probed
  for name in ("loss", "objective/scores"):
    assert _of(dying, name) == _of(whole, name) != []


def _of(folder, name):
  return [line[name] for line in runs.metrics(folder) if name in line]


@pytest.mark.parametrize("loss", ["dro_v", "dpo", "rloo(beta=0.0)"])
def test_a_sample_without_a_score_is_left_out(server, tmp_path, loss):
  grow = {"score": rated(server, workers=1), "rounds": 1, "samples": 3}
  lost = []

  def rate(prompt, text):
    """No number for the first sample that is asked about."""
    if text not in ("Yes.", "No.") and (not lost or (prompt, text) in lost):
      lost.append((prompt, text))
      return "I cannot say."
    return str(1 + sum(map(ord, text)) % 9)

  server.rate = rate
  out = tmp_path / "run"
  rounds.train(out, loss, grow={**grow, "batch": 4, "eval_prompts": 0})
  samples = Kept(out).samples(1)
  assert np.isnan(samples.scores).sum() == 1
  lines = rounds.said(out, 1)
  assert [line["reward"] is None for line in lines].count(True) == 1
  (line,) = rounds.of_rounds(out)
  assert line["objective/no_score"] == 1
  assert line["objective/scores"] == pytest.approx(np.nanmean(samples.scores))
  assert 0 <= line["frac_reward_zero_std"] < 1
  groups = {"dro_v": None, "dpo": 0, "rloo(beta=0.0)": 1}
  assert line.get("objective/no_group") == groups[loss]
