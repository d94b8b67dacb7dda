"""What a comparison found: each policy beside the baseline."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from offalign.compare.scores import MeanScore
from offalign.generation.completions import Completions, Cuts, Prompt, cuts
from offalign.judges.contest import Duel
from offalign.leaderboard.rows import Row

OUTCOMES = ("win", "tie", "loss", "none")
"""Of one prompt for a policy against the baseline; "none" = no verdict."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """A policy of the comparison.

  Attributes:
    name: the policy's.
    path: of its folder.
    kind: the loss that trained it, or "model folder".
    step: of its checkpoint.
    written: its completions, one a prompt.
    duel: against the baseline; None for the baseline.
    scores: what the judge gives its completions, one a prompt; () of a judge
      that only compares.
    score: their mean; None where there are none.
    budget: what its training took: "steps", "completions", "seconds"; {} where
      it is not known.
    metrics: its last held-out metrics.
    nats: mean log-ratios of logged held-out completions to its reference.
    row: of a leaderboard; None where its training has not recorded what it
      took.
  """

  name: str
  path: str
  kind: str
  step: int
  written: Completions
  duel: Duel | None
  scores: tuple[float, ...]
  score: MeanScore | None
  budget: Mapping[str, float]
  metrics: Mapping[str, float]
  nats: Mapping[str, float]
  row: Row | None

  @property
  def outcomes(self) -> tuple[str, ...]:
    """One of `OUTCOMES` for each prompt; () for the baseline."""
    if self.duel is None or self.duel.said is None:
      return ()
    return tuple(map(outcome, self.duel.said.preferences))

  @property
  def cuts(self) -> Cuts:
    """Completions that did not end, and prompts that were cut."""
    return cuts(self.written.ends, len(self.written.texts))

  @property
  def characters(self) -> float:
    """Mean length of a completion."""
    return float(np.mean([len(text) for text in self.written.texts]))

  @property
  def tokens(self) -> float | None:
    """Mean number of tokens of a completion; None where it is not known."""
    known = [end.tokens for end in self.written.ends]
    counts = [tokens for tokens in known if tokens is not None]
    return float(np.mean(counts)) if known and counts == known else None


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Policies that completed the same prompts, and a judge's verdicts.

  Attributes:
    judge: the judge's spec.
    prompts: distinct ones.
    source: where they are from, such as "held-out prompts".
    drawing: options of the sampling.
    entries: the baseline first.
    said: sentences that a reader should know.
  """

  judge: str
  prompts: tuple[Prompt, ...]
  source: str
  drawing: Mapping[str, object]
  entries: tuple[Entry, ...]
  said: tuple[str, ...] = ()

  @property
  def baseline(self) -> Entry:
    """What the others are compared with."""
    return self.entries[0]

  @property
  def others(self) -> tuple[Entry, ...]:
    """The policies that are compared with the baseline."""
    return self.entries[1:]


def outcome(preference: float) -> str:
  """Win, tie or loss of a preference; a judge's two orders may differ.

  >>> [outcome(x) for x in (1.0, 0.75, 0.5, 0.0, float("nan"))]
  ['win', 'win', 'tie', 'loss', 'none']
  """
  if preference != preference:
    return "none"
  return "tie" if preference == 0.5 else ("win" if preference > 0.5 else "loss")
