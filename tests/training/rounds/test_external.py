"""Rounds whose samples an engine writes, against a local one."""

import re

import engines
import numpy as np
import pytest
import rounds
import runs

from offalign import Run
from offalign.errors import UserError
from offalign.training.rounds.kept import Kept

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
RATIOS = "grpo(behaviour=logged, clip=0.2, beta=0.0)"


@pytest.fixture
def server():
  with engines.running() as found:
    yield found


def grow(server, **changes):
  sampler = server.spec(retries=0, workers=1)
  given = {"sampler": sampler, "score": length, "rounds": 2, "eval_prompts": 0}
  return given | changes


def length(prompt, text):
  """A score of what the engine writes."""
  del prompt
  return len(text)


def test_a_run_that_was_killed_asks_only_for_what_is_missing(server, tmp_path):
  whole = tmp_path / "whole"
  rounds.train(whole, RATIOS, grow=grow(server))
  first, second = (Kept(whole).samples(n) for n in (1, 2))
  asked = [body for body in server.bodies if body["max_tokens"] > 1]
  assert len(asked) == 2 * len(first.prompts)
  for body, i in zip(asked, range(len(first.prompts)), strict=False):
    assert body["seed"] == engines.seed_of(f"0/grow/1/{i}")
    for k in range(4):
      said = engines.told(body, k)
      ids = first.drawn.tokens[i * 4 + k].tolist()
      assert ids == said["token_ids"]
      np.testing.assert_array_equal(
        first.drawn.token_logps[i * 4 + k], said["logprobs"]["token_logprobs"]
      )
  assert np.isfinite(second.drawn.logps).all()
  assert not [*whole.glob("rounds/answers*")]
  del server.bodies[:]
  dying = tmp_path / "dying"

  def fails_in_round_two(body):
    # The probe, the 8 prompts of the first round, and 6 of the second.
    return engines.answer(body) if len(server.bodies) <= 15 else b""

  server.reply = fails_in_round_two
  run = Run(**rounds.options(dying, RATIOS, grow=grow(server)))
  with pytest.raises(UserError, match=r"grow.sampler: the sampler at"):
    run.train(verbose=False)
  server.reply = engines.answer
  del server.bodies[:]
  rounds.train(dying, RATIOS, grow=grow(server))
  lengths = [body["max_tokens"] for body in server.bodies]
  assert lengths == [1, 5, 5]  # the probe, and the two that are missing
  for name in ("loss", "objective/scores"):
    assert _of(dying, name) == _of(whole, name) != []


def _of(folder, name):
  return [line[name] for line in runs.metrics(folder) if name in line]


def test_text_alone_serves_losses_without_ratios(server, tmp_path):
  server.reply = lambda body: engines.answer(body, ids=False)
  said = rounds.refused(tmp_path, RATIOS, grow=grow(server))
  assert re.search("gives text alone, and this loss divides by", said)
  assert len(server.bodies) == 1  # nothing else was spent
  server.reply = lambda body: engines.answer(body, logprobs=False)
  said = rounds.refused(tmp_path, RATIOS, grow=grow(server))
  assert "gives no log-probs" in said
  server.reply = lambda body: engines.answer(body, ids=False)
  out = tmp_path / "text"
  rounds.train(out, grow=grow(server, rounds=1))
  lines = rounds.said(out, 1)
  assert all("logprobs" not in line for line in lines)
  assert {line["completion"] for line in lines} <= {"ab", "c", "d" * 5}
  (drawn,) = (Kept(out).samples(1).drawn,)
  assert np.isnan(drawn.logps).all()
  for ids, finished in zip(drawn.tokens, drawn.finished, strict=True):
    assert (ids[-1] == 1) == finished


@pytest.mark.parametrize(
  ("loss", "changes", "why"),
  [
    (RATIOS, {"temperature": 0.5}, "an engine's raw log-probs are of temper"),
    ("dro_v", {"sampler": "endpoint(url='x')"}, "grow.sampler.*needs a url"),
    ("dro_v", {"score": None, "prompts": None, "samples": None}, "nothing sco"),
  ],
)
def test_it_is_refused_before_any_call(server, tmp_path, loss, changes, why):
  said = rounds.refused(tmp_path, loss, grow=grow(server, **changes))
  assert re.search(why, said), said
  assert not server.bodies


def test_an_engine_that_is_not_there_is_a_sentence(server, tmp_path):
  server.failures = [500]
  said = rounds.refused(tmp_path, grow=grow(server))
  assert "grow.sampler: the sampler at http" in said
