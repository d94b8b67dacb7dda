"""A judge that has a language model rate each completion by a rubric."""

from collections.abc import Callable, Sequence

import numpy as np

from offalign.judges.base import Prompt, Verdicts, as_text, by_scores
from offalign.judges.endpoint import prompt as prompt_lib
from offalign.judges.endpoint import rubric
from offalign.judges.endpoint.asker import LOST, AtEndpoint
from offalign.judges.endpoint.options import Endpoint


class Rater(AtEndpoint):
  """Asks the endpoint for a number for each completion; see `Endpoint`.

  The form is the single-answer grading of arXiv:2306.05685, section 3.1. A
  completion is rated by itself, so there is no place that could be favoured;
  in return ratings are coarse, and many are equal.

  Attributes:
    options: which model is asked, and how; its `rubric` is given.
  """

  @staticmethod
  def _load(options: Endpoint) -> str:
    assert options.rubric is not None
    return rubric.load(options.rubric)

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`: the higher number is better, equal ones are a tie.

    A comparison with an unrated completion has no verdict. Counts "scored",
    distinct completions, and those of `scores`.
    """
    counts: dict[str, int] = {}

    def score(pairs: list[tuple[Prompt, str]]) -> np.ndarray:
      found, counted = self.scores(pairs)
      counts.update(counted)
      return found

    said = by_scores(score, prompts, a, b, tie=0.0)
    return Verdicts(said.preferences, {**said.counts, **counts}, said.scores)

  def scores(
    self,
    pairs: Sequence[tuple[Prompt, str]],
    watch: Callable[[], None] = lambda: None,
  ) -> tuple[np.ndarray, dict[str, int]]:
    """Rates each (prompt, completion).

    Args:
      pairs: n; equal ones are asked about once.
      watch: called now and then; what it raises ends the asking.

    Returns:
      float64 [n], NaN where there is no number; and counts, of distinct pairs:
      "malformed" (an answer that is no number on the scale), "refused" (the
      endpoint would not answer), "failed" (it could not, after all retries)
      and "capped" (not asked, as `max_calls` was reached), and those of
      `Asker.counts`.

    Raises:
      UserError: where no call can go well, or ten questions in a row fail.
        What was answered is in the cache.
    """
    distinct = list(dict.fromkeys(pairs))
    said = self._asker.all(self._one, distinct, "completion", watch)
    lost = {name: said.count(name) for name in LOST}
    found = dict(zip(distinct, said, strict=True))
    numbers = [found[pair] for pair in pairs]
    scores = [np.nan if isinstance(x, str) else x for x in numbers]
    return np.array(scores, np.float64), lost | self._asker.counts

  def _one(self, pair: tuple[Prompt, str]) -> float | str:
    prompt, completion = pair
    low, high = self.options.scale
    text = prompt_lib.fill(
      self._question,
      prompt=as_text(prompt),
      completion=completion,
      lowest=rubric.spelled(low),
      highest=rubric.spelled(high),
    )
    return self._asker.ask(text, lambda answer: rubric.read(answer, low, high))
