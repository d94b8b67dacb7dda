"""Scores an answer of the shop, from 0 to 1: `compare --judge=score.py:score`.

A third each for naming what the customer asked about, for a kind word, and for
saying what happens next.
"""

import re

_ITEM = re.compile(
  r"\b(?:red|blue|green|black|white|yellow|grey|brown) [a-z]+\b"
)
_KIND = re.compile(r"\b(?:sorry|please|thank|thanks|of course|gladly)\b")
_NEXT = re.compile(r"\b(?:will|arrives|use the label|in stock)\b")


def score(prompt: str, completion: str) -> float:
  """Scores an answer.

  Args:
    prompt: what the customer wrote.
    completion: what the shop answered.

  Returns:
    0, 1/3, 2/3 or 1; 0 for an answer with the same sentence twice.
  """
  answer = completion.lower()
  sentences = re.findall(r"[^.!?]+", answer)
  said = [sentence.strip() for sentence in sentences if sentence.strip()]
  if len(set(said)) < len(said):
    return 0.0
  asked = set(_ITEM.findall(prompt.lower()))
  named = bool(asked) and asked == set(_ITEM.findall(answer))
  kind = bool(_KIND.search(answer))
  says_what_is_next = bool(_NEXT.search(answer))
  return (named + kind + says_what_is_next) / 3
