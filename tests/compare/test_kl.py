"""KL on the policies' own completions, from log-probs that are made up."""

import math
import types

import numpy as np
import pytest

from offalign.compare import kl
from offalign.compare.contestants import Contestant
from offalign.errors import UserError
from offalign.generation.completions import Completions, End

CHAT = (("user", "hi"),)
TEXTS = Completions("x", ("a", CHAT), ("b", ""), (End(True, 2), End(False, 4)))


def contestant(name, value):
  about = {"loss": "dpo", "config": {"data.max_prompt": 7}}
  policy = types.SimpleNamespace(
    about=about, step=1, model=name, params=value, tokenizer=None
  )
  return Contestant(name, name, policy)


@pytest.fixture
def asked(monkeypatch):
  """Scores a completion by its policy's number times its place."""
  found = []

  def logps(model, params, tokenizer, records, **options):
    found.append((model, records, options))
    if params is None:
      raise UserError("another vocabulary")
    return params * np.arange(1, len(records) + 1)[:, None]

  monkeypatch.setattr(kl.scoring, "logps", logps)
  monkeypatch.setattr(kl, "_opened", lambda one: one.policy)
  return found


def test_it_is_the_mean_log_ratio_on_the_policys_own_completions(asked):
  start, one = contestant("start", -3.0), contestant("one", -2.0)
  (found,) = kl.estimate([one], [TEXTS], start)
  assert found.mean == 1.5  # of 1 and 2
  assert found.error == pytest.approx(0.5)
  assert [model for model, _, _ in asked] == ["start", "one"]
  _, records, options = asked[0]
  assert [record.completions for record in records] == [("b",), ("",)]
  assert records[1].prompt[0].role == "user"
  # The one that did not end within 4 tokens has no end to be scored.
  assert options["max_completion"] == 4
  assert options["max_prompt"] == 7


@pytest.mark.usefixtures("asked")
def test_a_policy_is_0_nats_from_itself():
  start = contestant("start", -3.0)
  (found,) = kl.estimate([start], [TEXTS], start)
  assert (found.mean, found.error) == (0.0, 0.0)


@pytest.mark.usefixtures("asked")
def test_what_cannot_be_scored_has_no_estimate():
  start, one = contestant("start", -3.0), contestant("one", None)
  assert kl.estimate([one], [TEXTS], start) == [None]
  assert kl.estimate([start], [TEXTS], one) == [None]


@pytest.mark.usefixtures("asked")
def test_one_prompt_has_no_error():
  texts = Completions("x", ("a",), ("b",), (End(True, 2),))
  start, one = contestant("start", -3.0), contestant("one", -2.0)
  (found,) = kl.estimate([one], [texts], start)
  assert found.mean == 1.0
  assert math.isnan(found.error)
