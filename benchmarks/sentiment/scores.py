"""Score completions: by VADER's lexicon, or by a count of letters."""

import functools
from collections.abc import Callable

from offalign.errors import UserError

Score = Callable[[str, str], float]
"""(opening, completion) -> a finite number, higher is better."""


def vader(opening: str, completion: str) -> float:
  """VADER's compound score of a completion, from -1 to 1 (Hutto and Gilbert,
  "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
  Media Text", ICWSM 2014).

  It counts words of a lexicon and knows nothing of their sense.

  Args:
    opening: not read.
    completion: the text.
  """
  return float(_analyzer().polarity_scores(completion)["compound"])


def vowels(opening: str, completion: str) -> float:
  """The share of vowels, for models that write no words.

  Args:
    opening: not read.
    completion: the text.
  """
  return sum(x in "aeiouAEIOU" for x in completion) / max(len(completion), 1)


def check() -> None:
  """Finds out whether the lexicon is installed.

  Raises:
    UserError: where it is not.
  """
  _analyzer()


@functools.cache
def _analyzer():  # type: ignore[no-untyped-def]
  try:
    from vaderSentiment import vaderSentiment
  except ImportError:
    raise UserError(
      "--suite=sentiment scores by vaderSentiment, which is not installed: "
      "python -m pip install -e '.[real]'"
    ) from None
  return vaderSentiment.SentimentIntensityAnalyzer()
