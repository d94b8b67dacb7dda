"""Answers of engines: what is kept of them, and read from that."""

import pytest

from offalign.endpoints.answers import Answer
from offalign.generation.endpoint.choices import (
  Choice,
  Impossible,
  pack,
  unpack,
)


def read(answer, each=1, longest=3):
  return unpack(answer, each, ends=(1, 2), vocab_size=9, longest=longest)


def test_what_is_kept_is_what_was_told():
  choice = {
    "index": 0,
    "text": "a\ud800",
    "finish_reason": "length",
    "token_ids": [5, 2],
    "logprobs": {"token_logprobs": [-1, -0.5], "tokens": ["a", "b"]},
  }
  usage = {"prompt_tokens": 4, "completion_tokens": 2}
  kept = pack({"choices": [choice], "usage": usage})
  assert kept is not None
  assert (kept.prompt_tokens, kept.completion_tokens) == (4, 2)
  # It was cut at its end, which it has.
  assert read(kept) == [Choice("a?", (5, 2), (-1.0, -0.5), True)]


@pytest.mark.parametrize(
  "parsed", [None, [], {}, {"choices": 1}, {"choices": [{}]}]
)
def test_what_is_no_completion_is_not_kept(parsed):
  assert pack(parsed) is None


def test_a_damaged_cache_is_a_sentence():
  with pytest.raises(Impossible, match="answers in its cache that cannot be"):
    read(Answer("{", False, 0, 0))
