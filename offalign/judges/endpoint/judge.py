"""A judge that is a language model behind an OpenAI-compatible endpoint.

Each comparison is asked twice, with either completion first, as such judges
favour a place (arXiv:2306.05685, section 3.4).
"""

from collections.abc import Callable, Sequence

import numpy as np

from offalign.judges.base import Prompt, Verdicts, as_text, check_lengths
from offalign.judges.endpoint import prompt as prompt_lib
from offalign.judges.endpoint.asker import LOST, AtEndpoint
from offalign.judges.endpoint.options import Endpoint

_WORTH = {"A": 1.0, "B": 0.0, "tie": 0.5}
_Item = tuple[Prompt, str, str]


class EndpointJudge(AtEndpoint):
  """Asks the endpoint which of two is better; see `Endpoint`.

  An order's verdict counts 1, 1/2 or 0, and the preference is the mean of
  both, so a judge that always takes the left one has only ties. A comparison
  with one order unanswered has no verdict.

  Attributes:
    options: which model is asked, and how.
  """

  @staticmethod
  def _load(options: Endpoint) -> str:
    return prompt_lib.load(options.template)

  def compare(
    self,
    prompts: Sequence[Prompt],
    a: Sequence[str],
    b: Sequence[str],
    watch: Callable[[], None] = lambda: None,
  ) -> Verdicts:
    """See `Judge`; `watch` is called now and then, and may end it.

    Each comparison is in the mean, or in one of four counts: "malformed" (an
    answer that is no verdict), "refused" (the endpoint would not answer),
    "failed" (it could not, after all retries) and "capped" (not asked, as
    `max_calls` was reached). Further counts: "identical" texts, which are
    ties and are not asked about; "disagreed", the orders' verdicts are
    opposite; and those of `Asker.counts`.

    Raises:
      UserError: where no call can go well, or ten comparisons in a row fail.
        What was answered is in the cache.
    """
    check_lengths(prompts, a, b)
    items = list(zip(prompts, a, b, strict=True))
    distinct = [item for item in dict.fromkeys(items) if item[1] != item[2]]
    said = self._asker.all(self._one, distinct, "comparison", watch)
    found = dict(zip(distinct, said, strict=True))
    counts = dict.fromkeys(("ties", *LOST, "identical", "disagreed"), 0)
    preferences = np.empty(len(items))
    for i, item in enumerate(items):
      worths = found.get(item, (0.5, 0.5))
      counts["identical"] += item not in found
      if isinstance(worths, str):
        preferences[i] = np.nan
        counts[worths] += 1
        continue
      preferences[i] = sum(worths) / 2
      counts["ties"] += preferences[i] == 0.5
    for worths in said:
      if not isinstance(worths, str):
        counts["disagreed"] += sum(worths) == 1 and worths[0] != 0.5
    return Verdicts(preferences, counts | self._asker.counts)

  def _one(self, item: _Item) -> tuple[float, float] | str:
    """What each order says of the first completion, or why there is nothing."""
    prompt, a, b = item
    worths: list[float] = []
    for first, second in ((a, b), (b, a)):
      text = prompt_lib.fill(
        self._question, prompt=as_text(prompt), a=first, b=second
      )
      said = self._asker.ask(text, _worth)
      if isinstance(said, str):
        return said  # the other order alone would be paid for in vain
      worths.append(said)
    return worths[0], 1.0 - worths[1]


def _worth(answer: str) -> float | None:
  """What an answer says of the completion on the left."""
  said = prompt_lib.read(answer)
  return None if said is None else _WORTH[said]
