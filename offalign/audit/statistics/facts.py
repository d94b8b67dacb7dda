"""Facts about data: kinds of feedback, counts, and shares of variance."""

import dataclasses

from offalign.audit.scan.collector import Collector
from offalign.audit.statistics.measures import Measures


@dataclasses.dataclass(frozen=True)
class Facts:
  """Kinds of feedback, counts and shares of the data.

  Attributes:
    completions: of all rows.
    prompts: how many distinct prompts.
    ranked: whether the data are pairs.
    rewards: whether there are rewards.
    margins: whether every pair has a margin.
    labels: whether there are labels.
    logged: whether there are log-probs of the policy that wrote the
      completions.
    logged_tokens: whether there are token ids with such log-probs of each.
    token_weights: whether there are weights of spans or tokens.
    token_rewards: whether there are ratings of spans or tokens.
    rated_spans: spans, or steps, with a rating of their own.
    pairs: given pairs whose sides differ.
    several: prompts with two completions or more.
    open: prompts whose completions have different values; of pairs without
      rewards, prompts with a pair.
    ties: share of ties among the pairs of completions of one prompt; None
      where there is no such pair.
    positive: share of the labels that are true; None without labels.
    share_between: share of the values' variance between prompts, see `Groups`.
    share_error: the standard error of `share_between`.
    flipped: share of the completions of open prompts to which one threshold
      for all prompts gives another label than their prompt's own mean does;
      None without values.
    one_sided: share of the open prompts to whose completions one threshold for
      all prompts gives the same label.
  """

  completions: int
  prompts: int
  ranked: bool
  rewards: bool
  margins: bool
  labels: bool
  logged: bool
  logged_tokens: bool
  token_weights: bool
  token_rewards: bool
  rated_spans: int
  pairs: int
  several: int
  open: int
  ties: float | None
  positive: float | None
  share_between: float | None
  share_error: float | None
  flipped: float | None
  one_sided: float | None

  @property
  def feedback(self) -> bool:
    """Whether anything says how good a completion is."""
    return self.ranked or self.rewards or self.labels

  @property
  def value(self) -> str:
    """What the values are called."""
    return "reward" if self.rewards or not self.labels else "label"


def gather(seen: Collector, measures: Measures, equal_pairs: int) -> Facts:
  """Gathers the facts from the audit's numbers.

  Args:
    seen: the records.
    measures: the numbers of the records' entries.
    equal_pairs: pairs of the same text twice.
  """
  groups = measures.groups
  several = sum(n for k, n in groups.sizes.items() if k > 1)
  labelled = measures.positive + measures.negative
  is_open = groups.open
  if seen.ranked and not seen.rewards:
    is_open = several
  return Facts(
    completions=seen.completions,
    prompts=groups.prompts,
    ranked=seen.ranked,
    rewards=seen.rewards,
    margins=seen.ranked and seen.margins == seen.rows,
    labels=seen.labels,
    logged=seen.logged,
    logged_tokens=seen.logged_tokens,
    token_weights=seen.token_weights,
    token_rewards=seen.token_rewards,
    rated_spans=seen.rated_spans,
    pairs=seen.rows - equal_pairs if seen.ranked else 0,
    several=several,
    open=is_open,
    ties=_share(groups.ties, groups.pairs),
    positive=_share(measures.positive, labelled),
    share_between=groups.share_between,
    share_error=groups.share_error,
    flipped=_share(groups.flipped, groups.in_open),
    one_sided=_share(groups.one_sided, groups.open),
  )


def _share(part: int, whole: int) -> float | None:
  return part / whole if whole else None
