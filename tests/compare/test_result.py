import doctest

import comparisons
import numpy as np

from offalign.compare import result
from offalign.judges import Verdicts


def test_the_docs_examples_hold():
  assert doctest.testmod(result).failed == 0


def test_outcomes_are_the_verdicts_of_each_prompt():
  found = comparisons.comparison()
  dro, kto = found.others
  assert found.baseline.name == "sft"
  assert found.baseline.outcomes == ()
  assert dro.outcomes == ("win", "loss", "tie", "win")
  assert kto.outcomes == ("loss", "tie", "loss", "win")
  assert dro.duel.found.rate == 2.5 / 4
  assert kto.duel.found.rate == 1.5 / 4


def test_lengths_are_means_over_completions():
  texts = {"sft": ["a", "bcd"], "b": ["", "xy"]}
  found = comparisons.comparison(texts, prompts=("p", "q"))
  assert [entry.characters for entry in found.entries] == [2.0, 1.0]
  assert found.baseline.tokens == 2.0
  silent = comparisons.comparison(ends=False)
  assert silent.baseline.tokens is None
  assert silent.baseline.cuts.unfinished is None


class Half:
  """A judge that says nothing of the second prompt."""

  spec = "half"

  def compare(self, prompts, a, b):
    said = np.full(len(prompts), 1.0)
    said[1] = np.nan
    return Verdicts(said, {"ties": 0, "failed": 1})


def test_a_missing_verdict_is_no_tie():
  found = comparisons.comparison(judge=Half())
  assert found.others[0].outcomes == ("win", "none", "win", "win")
  assert found.others[0].scores == ()
