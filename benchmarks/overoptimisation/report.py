"""report.md: peaks, fitted forms, WARM and ensembles, and a picture each."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from benchmarks.overoptimisation import best_of, fits, plots, proxies, suite
from benchmarks.overoptimisation.fits import Curve, Fit, Peak
from benchmarks.overoptimisation.points import Point
from benchmarks.overoptimisation.proxies import MEMBERS

PAGE = "report.md"
_COMPARED = {suite.BEST_OF: (16, 64, 256), "RLOO": (40, 120, 300)}
"""Method -> strengths at which families are compared; default: all."""


@dataclasses.dataclass(frozen=True)
class Line:
  """What is said of one label.

  Attributes:
    label: of its points.
    method: of them.
    proxy: of them.
    seeds: that have all strengths.
    curve: means over seeds.
    peak: of it.
    fit: of the paper's form for its kind of method.
  """

  label: str
  method: str
  proxy: str
  seeds: int
  curve: Curve
  peak: Peak
  fit: Fit


def lines(points: Sequence[Point]) -> list[Line]:
  """One for each label that some seed is whole of, in order of the suite."""
  by_label: dict[str, list[Point]] = {}
  for point in points:
    by_label.setdefault(point.label, []).append(point)
  found = []
  for label, own in by_label.items():
    method, wanted = own[0].method, suite.strengths(own[0].method)
    if {point.strength for point in own} != set(map(float, wanted)):
      continue
    try:
      curve = fits.curve(own)
    except ValueError:
      continue
    form = fits.BEST_OF_FORM if method == suite.BEST_OF else fits.RL_FORM
    found.append(
      Line(
        label,
        method,
        own[0].proxy,
        len(curve.folds),
        curve,
        fits.peak(curve),
        fits.fit(curve.kl, curve.gold, form),
      )
    )
  return found


def said(line: Line) -> str:
  """Whether a peak was seen, in a sentence."""
  peak, name = line.peak, _strength(line.method)
  if peak.seen:
    return (
      f"peak at {name} {peak.strength:g} ({peak.kl:.2f} nats "
      f"[{peak.low:.2f}, {peak.high:.2f}]), then a fall of {peak.fall:.3f} "
      f"[{peak.fall_low:.3f}, {peak.fall_high:.3f}]"
    )
  end = f"{line.curve.kl[-1]:.2f} nats"
  return f"none was seen within the range, which ends at {end}"


def write(folder: pathlib.Path, points: Sequence[Point]) -> pathlib.Path:
  """Writes the page and its pictures; returns the page's path."""
  found = lines(points)
  parts = ["# Over-optimisation of reward models", "", *_intro(), ""]
  for method in suite.METHODS:
    own = [line for line in found if line.method == method]
    if not own:
      parts += [f"## {method}", "", "No seed of it is whole: not run.", ""]
      continue
    parts += [f"## {method}", "", *_verdict(own), "", *_table(own), ""]
    picture = f"{method.lower().replace(' ', '-')}.png"
    plots.draw(folder / picture, method, own)
    parts += [f"![Gold and proxy over the root of KL]({picture})", ""]
    if method == suite.BEST_OF:
      parts += [*_ties(points), ""]
    parts += [*_families(method, own), ""]
  page = folder / PAGE
  page.write_text("\n".join(parts), encoding="utf-8")
  return page


def _intro() -> list[str]:
  return [
    "The gold reward of the world `ops` is a program; proxies are reward "
    "models (`bradley_terry`) trained on pairs of the SFT policy's "
    "completions. Gold and proxy are gains over the SFT policy on test "
    "prompts; a proxy is stretched to the gold reward's standard deviation "
    "among completions of a prompt. Seeds change the log, the reward models "
    "and the training; the SFT policy and the pool of best-of-n are one and "
    "the same. Intervals are 95%, by bootstrap over seeds and 20 runs of "
    "prompts. A **peak was seen** where that of 97.5% of resampled curves lies "
    "before the end of the range and the interval of the fall after it is "
    f"above 0. Fitted forms are the paper's, {fits.BEST_OF_FORM} of best-of-n "
    f"and {fits.RL_FORM} of methods that train, d = sqrt(KL), by least "
    "squares; the residual is a root mean square.",
  ]


def _verdict(own: Sequence[Line]) -> list[str]:
  proxies_only = [line for line in own if line.proxy != suite.GOLD]
  seen = [line for line in proxies_only if line.peak.seen]
  few = min(line.seeds for line in own if line.proxy != suite.GOLD)
  most = max(line.seeds for line in own)
  count = f"{most} seeds" if few == most else f"{few} to {most} seeds"
  if not seen:
    return [
      f"No peak of the gold reward was seen within the range of any of "
      f"{len(proxies_only)} proxies ({count})."
    ]
  if len(seen) == len(proxies_only):
    return [f"A peak of the gold reward was seen for every proxy ({count})."]
  named = "; ".join(line.proxy for line in seen)
  return [
    f"A peak of the gold reward was seen for {len(seen)} of "
    f"{len(proxies_only)} proxies ({count}): {named}."
  ]


def _table(own: Sequence[Line]) -> list[str]:
  heads = [
    "proxy",
    "seeds",
    "gold at the end",
    "proxy at the end",
    "best gold",
    "peak",
    "alpha",
    "beta",
    "residual",
  ]
  rows = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
  for line in own:
    curve, fit = line.curve, line.fit
    cells = [
      line.proxy,
      "-" if line.proxy == suite.GOLD else str(line.seeds),
      f"{curve.gold[-1]:+.3f}",
      f"{curve.proxy[-1]:+.3f}",
      f"{line.peak.gold:+.3f}",
      said(line),
      f"{fit.alpha:.3f}",
      f"{fit.beta:.3f}",
      f"{fit.residual:.3f}",
    ]
    rows.append(f"| {' | '.join(cells)} |")
  return rows


def _ties(points: Sequence[Point]) -> list[str]:
  """How far the paper's KL of best-of-n is from the KL with ties."""
  last = max(best_of.NS)
  found = [
    point
    for point in points
    if point.method == suite.BEST_OF
    and point.proxy != suite.GOLD
    and point.strength == last
    and point.kl_ties is not None
  ]
  if not found:
    return []
  low = min(point.kl_ties or 0.0 for point in found)
  high = max(point.kl_ties or 0.0 for point in found)
  return [
    f"The KL of best-of-n is the paper's log n - (n - 1) / n, an upper bound: "
    f"the policy writes some completions again and again, and with those ties "
    f"the KL at n = {last} is estimated as {low:.2f} to {high:.2f} nats, not "
    f"{found[0].kl:.2f}. At one n all proxies choose from the same samples."
  ]


def _families(method: str, own: Sequence[Line]) -> list[str]:
  """WARM against one model and the ensemble, at equal strength."""
  known = {line.proxy: line.curve for line in own}
  strengths = _COMPARED.get(method, suite.strengths(method))
  equal = "n and so equal KL"
  if method != suite.BEST_OF:
    equal = "strength (not at equal KL, which the tables above have)"
  parts = [
    f"### WARM and ensembles, {method}",
    "",
    f"Gold reward of WARM ({MEMBERS} reward models from one start, their "
    f"weights averaged) less that of others, at equal {equal}, "
    "paired by seed and prompts. One model costs as much to score with and a "
    f"third to train; one with {MEMBERS} times the updates costs as much in "
    f"both; the ensembles cost as much to train and {MEMBERS} times as much to "
    "score with. A star: the 95% interval of that one difference leaves out 0.",
    "",
  ]
  named = (f"{_strength(method)} {x:g}" for x in strengths)
  heads = ["data", "WARM less", *named]
  parts += [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
  count = stars = 0
  for size, data in proxies.cells():
    names = proxies.names(size, data)
    if len(names) == 1 or names[2] not in known:
      continue
    one, longer, warm, mean, worst = names
    for other in (x for x in (one, longer, mean, worst) if x in known):
      cells = [str(data), other.removesuffix(f", {size}, {data}")]
      for n in strengths:
        gap = fits.difference(known[warm], known[other], n)
        count, stars = count + 1, stars + gap.is_sure
        star = " *" if gap.is_sure else ""
        cells.append(f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{star}")
      parts.append(f"| {' | '.join(cells)} |")
  chance = f"{0.05 * count:.1f}"
  return [
    *parts,
    "",
    f"{stars} of {count} differences bear a star; {chance} would by chance "
    "alone.",
  ]


def _strength(method: str) -> str:
  names: Mapping[str, str] = {
    suite.BEST_OF: "n =",
    "RLOO": "update",
    "DPO": "beta =",
    "DRO-V": "tau =",
  }
  return names[method]
