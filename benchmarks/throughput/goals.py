"""What the figures are held against, in words made from the figures."""

import statistics
from collections.abc import Sequence

from benchmarks.throughput.cases import Case
from benchmarks.throughput.contenders import OURS, OWN
from benchmarks.throughput.suite import Result

MEMORY = 0.6
"""Of the leanest peer's peak, at most. Published models have no such goal: they
take turns with peers for speed."""


def speed(case: Case) -> float:
  """How many times as fast as the fastest peer a case should be."""
  if case.published:
    return 1.0 if case.per_prompt == 1 else 1.5
  if case.loss == "dro_v":
    return 1.5
  return 2.0 if case.prompt >= 256 else 1.3


def ratios(ours: Result, peer: Result) -> list[float]:
  """Turn by turn, how many times as fast ours is."""
  pairs = zip(ours.seconds, peer.seconds, strict=False)
  return [theirs / own for own, theirs in pairs]


def verdicts(case: Case, results: Sequence[Result]) -> list[str]:
  """A sentence for each of the case's goals; what cannot be said is said."""
  whole = [r for r in results if r.error is None]
  own = [r for r in whole if r.contender in OWN]
  peers = [r for r in whole if r.contender not in OWN]
  if not any(r.contender == OURS for r in own):
    return [f"{case.name}: nothing to say, {OURS} did not run to its end."]
  if not peers:
    return [f"{case.name}: nothing to compare with, no peer ran to its end."]
  return [line for r in own for line in _said(case, r, peers)]


def _said(case: Case, ours: Result, peers: Sequence[Result]) -> list[str]:
  """A sentence for each goal, of ours or of one of its variants."""
  name = case.name
  if ours.contender != OURS:
    name = f"{name}, {ours.contender}"
  fastest = min(peers, key=lambda r: statistics.median(r.seconds))
  leanest = min(peers, key=lambda r: r.peak_mb)
  goal, found = speed(case), ratios(ours, fastest)
  times, memory = statistics.median(found), ours.peak_mb / leanest.peak_mb
  unsure = (min(found) < goal) != (max(found) < goal)
  said = [
    f"{name}, speed: {_word(times >= goal)}. {times:.2f} times the "
    f"fastest peer ({fastest.contender}); the goal is {goal}, "
    f"{_by(times / goal - 1)}"
    + ("; single turns fell on both sides." if unsure else "."),
  ]
  if case.published:
    return said
  return [
    *said,
    f"{name}, memory: {_word(memory <= MEMORY)}. {memory:.2f} of the "
    f"leanest peer's peak ({leanest.contender}); the goal is {MEMORY}, "
    f"{_by(1 - memory / MEMORY)}.",
  ]


def _word(met: bool) -> str:
  return "met" if met else "missed"


def _by(margin: float) -> str:
  return f"{abs(margin):.0%} {'to spare' if margin >= 0 else 'short'}"
