"""Rewards and labels: absent, constant, tied, skewed, or easily flipped."""

import math
from collections.abc import Callable

from offalign.audit.findings import LISTED, Finding, percent
from offalign.audit.statistics.facts import Facts
from offalign.audit.statistics.histogram import Spread
from offalign.audit.statistics.measures import Measures
from offalign.data.reading.outliers import FAR
from offalign.data.reading.records import count
from offalign.errors import Sentence, option

_MUCH_BETWEEN = 0.2  # of the variance
_VAGUE = 0.15  # a standard error of a share that leaves it open
_RARE = 0.2  # a share of labels
_FLIPPED = 0.02  # of labels, by another threshold


def findings(facts: Facts, measures: Measures) -> list[Finding]:
  """Returns findings about the rewards and labels, from their statistics."""
  return [
    *_no_feedback(facts),
    *_constant(facts, measures),
    *_between(facts),
    *_flat(facts, measures),
    *_threshold(facts),
    *_balance(facts, measures),
    *_skew(measures.values, facts),
  ]


def _no_feedback(facts: Facts) -> list[Finding]:
  if facts.feedback or not facts.several:
    return []
  return [
    Finding(
      "warning",
      "no_feedback",
      f"no column says which completions are good (reward, label, or chosen "
      f"and rejected), though {count(facts.several, 'prompt')} of "
      f"{facts.prompts:,} have several completions; a column 'reward' may be "
      "missing",
      "add the column, or take the data for demonstrations that differ",
      facts.several,
    )
  ]


def _constant(facts: Facts, measures: Measures) -> list[Finding]:
  values = [v for v in measures.values if v.n]
  if facts.ranked or not values:
    return []
  if values[0].low < values[0].high:
    return _out_of_proportion(values[0])
  if values[0].n < 2:
    return []
  return [
    Finding(
      "warning",
      "constant",
      f"every {facts.value} is {values[0].low:g}",
      "there is nothing to learn from them; look where they come from",
    )
  ]


def outlying(
  facts: Facts, measures: Measures, name: Callable[[int], str]
) -> list[Finding]:
  """Warns of values so far from all others that only they would count.

  Args:
    facts: what the data are.
    measures: of their values.
    name: the place of a row in words.
  """
  rows = measures.outlying
  if not len(rows):
    return []
  where = [f"{name(int(x['row']))}: {x['value']:g}" for x in rows[:LISTED]]
  return [
    Finding(
      "warning",
      "outlying",
      f"{count(len(rows), facts.value)} more than {FAR:,.0f} standard "
      "deviations from the others, so that normalised rewards say nothing else",
      "correct them, or leave these rows out",
      len(rows),
      tuple(where),
    )
  ]


def _out_of_proportion(value: Spread) -> list[Finding]:
  """Rewards that differ, but whose variance is no number above 0."""
  if 0 < value.std < math.inf:
    return []
  return [
    Finding(
      "error",
      "range",
      f"the range of the rewards, {value.low:g} to {value.high:g}, is out of "
      "proportion, so that they cannot be normalised",
      "scale the column to numbers near 1",
    )
  ]


def _between(facts: Facts) -> list[Finding]:
  share = facts.share_between
  if share is None:
    if facts.several or not (facts.rewards or facts.labels):
      return []
    return [
      Finding(
        "note",
        "between",
        "every prompt has one completion, so that the share of the "
        f"{facts.value}'s variance that is between prompts cannot be told",
        "a value function, or a baseline by another model, may matter: rate "
        "two completions of some prompts to find out",
      )
    ]
  error = facts.share_error
  plus = "" if error is None else f" (standard error {percent(error, 1)})"
  if error is None or error > _VAGUE:
    remedy = "these are too few prompts to build on that"
  elif share >= _MUCH_BETWEEN:
    remedy = (
      "it says how hard a prompt is and not which completion is better: take "
      "a loss with a value function, on groups or on pairs, or thresholds by "
      "prompt"
    )
  else:
    remedy = (
      "prompts are alike: a value function or a threshold by prompt matters "
      "little"
    )
  return [
    Finding(
      "note",
      "between",
      f"{percent(share, 1)} of the {facts.value}'s variance is between "
      f"prompts{plus}",
      remedy,
    )
  ]


def _flat(facts: Facts, measures: Measures) -> list[Finding]:
  groups = measures.groups
  if not groups.several or groups.open == groups.several:
    return []
  closed = groups.several - groups.open
  return [
    Finding(
      "note",
      "ties",
      f"{closed:,} of {count(groups.several, 'prompt')} with several "
      f"completions ({percent(closed, groups.several)}) give all of them one "
      f"{facts.value}, and {percent(groups.ties, groups.pairs)} of the pairs "
      "of completions of a prompt are ties",
      "losses on pairs and groups learn nothing from these prompts; sample "
      "further completions for them, or drop them",
      closed,
    )
  ]


def _threshold(facts: Facts) -> list[Finding]:
  if facts.flipped is None or facts.flipped < _FLIPPED:
    return []
  if facts.ranked or not facts.rewards:
    return []
  assert facts.one_sided is not None
  return [
    Finding(
      "note",
      "threshold",
      f"labels by the mean reward of all data differ from labels by each "
      f"prompt's own for {percent(facts.flipped, 1)} of the completions of "
      f"prompts whose rewards differ, and give {percent(facts.one_sided, 1)} "
      "of those prompts one label alone",
      Sentence(
        "for losses that read labels, try "
        f"{option('data.label_rule', 'prompt_mean')} beside the default"
      ),
    )
  ]


def _balance(facts: Facts, measures: Measures) -> list[Finding]:
  share = facts.positive
  if share is None:
    return []
  good, bad = measures.positive, measures.negative
  if not good or not bad:
    which = "true" if good else "false"
    return [
      Finding(
        "warning",
        "balance",
        f"every label is {which}",
        "losses on labels have nothing to tell apart",
      )
    ]
  if _RARE <= share <= 1 - _RARE:
    return []
  rare, weight = (
    ("desirable", bad / good)
    if share < 0.5
    else (
      "undesirable",
      good / bad,
    )
  )
  return [
    Finding(
      "note",
      "balance",
      f"{percent(share, 1)} of the labels are true ({good:,} of "
      f"{good + bad:,})",
      f"give the rare ones more weight, about {rare}_weight={weight:.2g} "
      "(arXiv:2402.01306 balances the two within a third)",
    )
  ]


def _skew(values: list[Spread], facts: Facts) -> list[Finding]:
  if facts.ranked or not facts.rewards or not values:
    return []
  one = values[0]
  ends = (one.counts[0] + one.counts[-1]) / one.n
  lowest = one.counts[0] / one.n
  if 0 < ends < 1 and max(lowest, one.counts[-1] / one.n) > 0.5:
    where = "lowest" if lowest > 0.5 else "highest"
    share = max(lowest, one.counts[-1] / one.n)
    return [
      Finding(
        "note",
        "skew",
        f"{percent(share, 1)} of the rewards are in the {where} tenth of "
        f"their range (mean {one.mean:.4g}, median {one.median:.4g})",
        "few completions carry the signal: compare on ranks or pairs too, and "
        "do not take a logarithm of rewards that may be 0",
      )
    ]
  return []
