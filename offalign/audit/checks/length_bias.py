"""Length bias: longer, or shorter, completions have the better feedback."""

from offalign.audit.findings import Finding, percent
from offalign.audit.statistics.facts import Facts
from offalign.audit.statistics.measures import Measures

_LONG = 0.3  # a correlation with length worth naming,
_SURE = 3.0  # if it is so many standard errors from 0
_LONGER = (0.4, 0.6)  # shares of pairs whose chosen side is longer


def findings(
  facts: Facts,
  measures: Measures,
  longer: int,
  as_long: int,
  unit: str = "",
) -> list[Finding]:
  """Returns a finding where feedback goes with length.

  Args:
    facts: of the data.
    measures: of the data.
    longer: pairs whose chosen side is the longer one.
    as_long: pairs whose sides are equally long.
    unit: what these two are counted in, to be said; "" = words.
  """
  return [*_correlated(facts, measures), *_longer(facts, longer, as_long, unit)]


def _correlated(facts: Facts, measures: Measures) -> list[Finding]:
  if facts.ranked:
    return []
  overall, inside = (
    measures.length_correlation,
    measures.groups.length_correlation,
  )
  least = max(_LONG, _SURE / max(facts.completions - 1, 1) ** 0.5)
  strong = [c for c in (overall, inside) if c is not None and abs(c) >= least]
  if not strong:
    return []
  more = "longer" if strong[0] > 0 else "shorter"
  said = [
    f"{c:+.2f} {where}"
    for c, where in (
      (overall, "over all (rank correlation)"),
      (inside, "within prompts"),
    )
    if c is not None
  ]
  return [
    Finding(
      "note",
      "length",
      f"{more} completions have the higher {facts.value}: {', '.join(said)}",
      "watch the length of what is sampled, and judge at equal length",
    )
  ]


def _longer(
  facts: Facts, longer: int, as_long: int, unit: str
) -> list[Finding]:
  different = facts.pairs - as_long
  if not facts.ranked or different <= 0:
    return []
  share = longer / different
  unsure = abs(share - 0.5) < _SURE * 0.5 / different**0.5
  if unsure or _LONGER[0] <= share <= _LONGER[1]:
    return []
  more = "longer" if share > 0.5 else "shorter"
  return [
    Finding(
      "note",
      "length",
      f"the chosen side is the {more} one in "
      f"{percent(max(share, 1 - share), 1)} of the pairs of different length"
      f"{unit and f' in {unit}'}",
      "watch the length of what is sampled, and judge at equal length",
    )
  ]
