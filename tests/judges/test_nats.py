"""Log-ratios of policies on completions of their own."""

import numpy as np
import pytest
from scipy import stats

from offalign.generation.completions import Completions, End
from offalign.judges.contest import Duel
from offalign.judges.nats import with_nats

TALK = (("user", "Hi"),)
TEXTS = ("a", "bb", "ccc", "dddd", "")


class Stub:
  """A policy to which each character costs so many nats."""

  def __init__(self, cost):
    self.cost, self.asked = cost, []

  def logps(self, rows, *, form):
    assert form == "sft"
    self.asked.append(rows)
    texts = [row["completion"] for row in rows]
    flat = [x if isinstance(x, str) else x[0]["content"] for x in texts]
    return np.array([-self.cost * len(text) for text in flat])


@pytest.fixture
def written():
  ends = (End(True), End(True), End(), End(False), End(True))
  prompts = ("p", "q", TALK, "r", "s")
  return {"a": Completions("a", prompts, TEXTS, ends)}


def duel(a, b):
  return Duel(a, b, None, {}, (0.0, 0.0), ())


def test_it_is_the_mean_log_ratio_on_completions_that_ended(written):
  policies = {"a": Stub(1.0), "b": Stub(3.0)}
  (found,) = with_nats([duel("a", "b")], written, policies)
  gaps = [2.0 * len(text) for text in TEXTS[:3]]
  assert found.nats == pytest.approx((np.mean(gaps), stats.sem(gaps)))
  (rows,) = policies["a"].asked
  assert rows == policies["b"].asked[0]
  assert rows[2] == {
    "prompt": [{"role": "user", "content": "Hi"}],
    "completion": [{"role": "assistant", "content": "ccc"}],
  }


def test_each_log_prob_is_computed_once_and_files_have_none(written):
  policies = {"a": Stub(1.0), "b": Stub(2.0), "c": Stub(1.0)}
  duels = [duel("a", "b"), duel("a", "c"), duel("a", "file"), duel("file", "a")]
  found = with_nats(duels, written, policies)
  assert len(policies["a"].asked) == 1
  assert found[1].nats == (0.0, 0.0)
  assert [d.nats for d in found[2:]] == [None, None]
