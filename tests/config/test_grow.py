"""The options of rounds: what they are, and what each says where it is not."""

import numpy as np
import pytest

from offalign.config import arguments
from offalign.config.config import check, flat
from offalign.config.grow import (
  Function,
  GrowConfig,
  Threshold,
  as_prompts,
  parse_label,
  parse_thresholds,
)
from offalign.errors import UserError


def test_thresholds_are_scores_the_mean_or_shares():
  found = parse_thresholds("mean, 0.7,90%")
  assert found == (
    Threshold("mean"),
    Threshold("score", 0.7),
    Threshold("share", 0.9),
  )
  scores = np.array([[0.0, 1.0, 2.0, 3.0, 9.0]])
  assert [each.of(scores) for each in found] == [3.0, 0.7, 3.0]
  assert parse_thresholds(None) == ()


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("0.7,0.7", "must rise"),
    ("90%,50%", "must rise"),
    ("good", "'good' is no threshold"),
    ("100%", "'100%' is no threshold"),
    ("nan", "'nan' is no threshold"),
    ("0.5,", "'' is no threshold"),
  ],
)
def test_other_thresholds_are_refused(text, why):
  with pytest.raises(UserError, match=why):
    parse_thresholds(text)


def test_labels_are_a_rule_or_a_threshold():
  assert parse_label("global_mean") == ("global_mean", None)
  assert parse_label("prompt_mean") == ("prompt_mean", None)
  assert parse_label("-2") == (None, -2.0)
  assert parse_label(None) == (None, None)
  with pytest.raises(UserError, match="none of global_mean"):
    parse_label("inf")


@pytest.mark.parametrize(
  ("fields", "why"),
  [
    ({"every": 1, "samples": 2}, "grow.samples is set, but nothing scores"),
    ({"every": 1, "prompts": "a"}, "grow.prompts is set, but nothing scores"),
    ({"every": 1, "keep": "all"}, "grow.keep is set, but nothing is sampled"),
    ({}, "grow.rounds or grow.every is missing"),
    ({"score": "a", "samples": 0}, "grow.samples must be at least 1, not 0"),
    ({"score": "a", "temperature": 0.0}, "must be above 0"),
    ({"score": "a", "samples": 1, "other": "r"}, "samples of 2 or more"),
    ({"score": "a", "every": 1, "thresholds": "0,1"}, "2 parts of a round"),
    ({"score": "a", "label": "0", "thresholds": "1"}, "give one"),
    ({"score": "a", "keep": "some"}, "keep"),
    ({"score": "a", "eval_prompts": -1}, "at least 0"),
    ({"every": 1, "judge": "a"}, "grow.judge is set, but nothing scores"),
    ({"score": "a", "judge": "a"}, "judge=a is grow.score too"),
    ({"score": "a", "judge": "b", "eval_prompts": 0}, "completes none"),
  ],
)
def test_what_cannot_be_is_refused(fields, why):
  with pytest.raises(UserError, match=why):
    GrowConfig(**fields)


def test_a_function_and_a_list_of_prompts_stand_in_python():
  def score(prompt, text):
    return 1.0

  made = arguments.read(
    {
      "out": "run",
      "grow": {"score": score, "prompts": ["a", {"prompt": "b"}]},
    }
  )
  assert made.grow.score.call is score
  assert made.grow.score == Function(score)
  assert made.grow.score.endswith("<locals>.score")
  assert [row for _, row in made.grow.prompts.items()] == [
    {"prompt": "a"},
    {"prompt": "b"},
  ]
  assert flat(made)["grow.prompts"] == "the list of prompts"
  assert as_prompts("file.jsonl") == "file.jsonl"
  assert made.grow.each == 4


def test_a_reference_that_moves_needs_rounds():
  fields = {"out": "run", "reference": "round"}
  with pytest.raises(UserError, match="this run has no rounds"):
    check(arguments.read(fields))
  check(arguments.read(fields | {"grow": {"every": 2}}))
