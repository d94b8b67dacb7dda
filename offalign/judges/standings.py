"""What several duels say together: differences, a common scale, power."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from offalign.generation.completions import Prompt
from offalign.judges.win_rates import WinRate
from offalign.statistics import differences, multiple, power
from offalign.statistics.differences import Estimate
from offalign.statistics.outcomes import prompt_id
from offalign.statistics.strengths import Strength, bradley_terry


class Met(Protocol):
  """A duel, as `contest.Duel` is one."""

  @property
  def a(self) -> str:
    """The name of the one side."""
    ...

  @property
  def b(self) -> str:
    """The name of the other."""
    ...

  @property
  def found(self) -> WinRate | None:
    """How often a is preferred."""
    ...

  @property
  def prompts(self) -> tuple[Prompt, ...]:
    """Distinct ones, in the order of `found.outcomes`."""
    ...


@dataclasses.dataclass(frozen=True)
class Gap:
  """The win rates of two contestants against a third, on the same prompts.

  Attributes:
    a: the first contestant.
    b: the second.
    against: whom both met.
    estimate: a's rate less b's, paired by prompt.
    p: Holm's p-value among all such gaps of the contest.
  """

  a: str
  b: str
  against: str
  estimate: Estimate
  p: float


def by_prompt(duel: Met) -> dict[str, float]:
  """Digest of a prompt -> how far a is preferred; NaN without a verdict."""
  if duel.found is None:
    return {}
  ids = map(prompt_id, duel.prompts)
  return dict(zip(ids, duel.found.outcomes, strict=True))


def gaps(duels: Sequence[Met]) -> list[Gap]:
  """Compares the win rates of all that met one contestant, two by two.

  Args:
    duels: those against the last contestant first, as `contest` returns them.
  """
  if not duels:
    return []
  last = duels[0].b
  against = [(d.a, by_prompt(d)) for d in duels if d.b == last and d.found]
  found = []
  for (a, first), (b, second) in itertools.combinations(against, 2):
    ids = [key for key in first if key in second]
    if ids:
      rates = ([[side[key] for key in ids]] for side in (first, second))
      x, y = (np.array(rate) for rate in rates)
      found.append((a, b, differences.difference(x, y)))
  adjusted = multiple.holm([estimate.p for _, _, estimate in found])
  return [
    Gap(a, b, last, estimate, p)
    for (a, b, estimate), p in zip(found, adjusted, strict=True)
  ]


def strengths(duels: Sequence[Met]) -> list[Strength]:
  """The contestants on the Bradley-Terry scale, the strongest first.

  [] for fewer than three, whose one win rate says all there is.
  """
  met = [d for d in duels if d.found is not None]
  names = list(dict.fromkeys(name for d in met for name in (d.a, d.b)))
  if len(names) < 3:
    return []
  found = bradley_terry(names, {(d.a, d.b): by_prompt(d) for d in met})
  return sorted(found, key=lambda s: -s.value)


def power_line(duels: Sequence[Met]) -> str:
  """What so many prompts with so many ties can show; "" of no verdict."""
  rates = [d.found for d in duels if d.found is not None]
  if not rates:
    return ""
  least = min(rates, key=lambda rate: rate.prompts)
  ties = float(np.mean([np.equal(r.outcomes, 0.5).mean() for r in rates]))
  return power.sentence(least.prompts, ties)


def sentences(found: Sequence[Gap]) -> list[str]:
  """The gaps in words."""
  out = []
  for gap in found:
    e = gap.estimate
    if e.se != e.se:
      continue
    verdict = "resolved" if gap.p <= multiple.ALPHA else "not resolved"
    out.append(
      f"{gap.a} less {gap.b}, win rates against {gap.against} paired on "
      f"{e.prompts:,} prompts: {e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}], "
      f"{verdict} (Holm's p {gap.p:.2g} of {len(found)})."
    )
  return out


def as_record(duels: Sequence[Met]) -> dict[str, Any]:
  """All of it as JSON."""
  return {
    "differences": [
      {**dataclasses.asdict(gap.estimate), "a": gap.a, "b": gap.b}
      | {"against": gap.against, "holm_p": gap.p}
      for gap in gaps(duels)
    ],
    "bradley_terry": [dataclasses.asdict(s) for s in strengths(duels)],
    "power": power_line(duels),
  }


def markdown(duels: Sequence[Met]) -> list[str]:
  """The same for people, as lines."""
  lines: list[str] = []
  if said := sentences(gaps(duels)):
    lines += ["## Differences", "", *(f"* {each}" for each in said), ""]
  if scale := strengths(duels):
    lines += [
      "## One scale",
      "",
      "Bradley-Terry strengths in log-odds, with 95% intervals by bootstrap "
      "over prompts: one beats another with the chance sigmoid(difference).",
      "",
      "| | strength |",
      "| :--- | ---: |",
      *(
        f"| {_cell(s.name)} | {s.value:+.2f} [{s.low:+.2f}, {s.high:+.2f}] |"
        for s in scale
      ),
      "",
    ]
  if line := power_line(duels):
    lines += [line, ""]
  return lines


def _cell(name: str) -> str:
  return name.replace("|", "\\|")
