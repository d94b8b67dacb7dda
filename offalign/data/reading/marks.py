"""What is known of parts of a completion: spans, and numbers by token."""

import dataclasses
from typing import NamedTuple

from offalign.data.reading.token_text import TokenText
from offalign.data.reading.whole_message import WholeMessage

SPANS, WEIGHTS, REWARDS = "spans", "token_weights", "token_rewards"
SINGLE = (SPANS, WEIGHTS, REWARDS)
"""Columns of a completion's spans, and of its numbers a token."""
PAIR = tuple(
  tuple(f"{side}_{c}" for c in SINGLE) for side in ("chosen", "rejected")
)
"""Those of a pair's two sides."""
COLUMNS = (*SINGLE, *PAIR[0], *PAIR[1])
"""Every column of feedback on parts that a form may have."""
STEPS = "steps"
"""The column of a completion that is given as a list of steps."""


class Span(NamedTuple):
  """Some characters of a completion, and what was said of them.

  Attributes:
    start: the first character, from 0.
    end: the one behind the last.
    weight: how much its tokens count, 0 or more; or None.
    reward: a finite number; or None.
    label: True = good; or None.
  """

  start: int
  end: int
  weight: float | None = None
  reward: float | None = None
  label: bool | None = None

  @property
  def rated(self) -> bool:
    """Whether it has a reward or a label of its own."""
    return self.reward is not None or self.label is not None

  @property
  def value(self) -> float:
    """Its reward, or its label as 1 or 0; 0 where it has neither."""
    return float(self.label or 0) if self.reward is None else self.reward


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
  """What is known of the parts of one completion.

  Attributes:
    spans: in order, none on another.
    weights: one a token, in place of spans; or None.
    rewards: one a token, in place of spans; or None.
    outside: the weight of tokens that are in no span with a weight.
  """

  spans: tuple[Span, ...] = ()
  weights: tuple[float, ...] | None = None
  rewards: tuple[float, ...] | None = None
  outside: float = 1.0

  @property
  def has_weights(self) -> bool:
    """Whether it says how much tokens count."""
    return self.weights is not None or any(
      span.weight is not None for span in self.spans
    )

  @property
  def has_ratings(self) -> bool:
    """Whether it says how good parts are."""
    return self.rewards is not None or any(span.rated for span in self.spans)


def content_of(completion: str) -> str:
  """The text that a completion's spans are of."""
  if isinstance(completion, TokenText):
    completion = completion.text
  if isinstance(completion, WholeMessage):
    completion = str(completion.parts["content"])
  return str(completion)
