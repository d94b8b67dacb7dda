"""What the rows say about the claims, in words made from their numbers."""

import statistics
from collections.abc import Sequence

from offalign.leaderboard import Row


def verdicts(rows: Sequence[Row]) -> list[str]:
  """Sentences for the report, from the rows that ended well."""
  good = [r for r in rows if r.status == "ok"]
  return [*_theory([r for r in good if r.track == "theory"]), *_ops(good)]


def _mean(rows: Sequence[Row], label: str, metric: str) -> float | None:
  found = [
    r.metrics[metric] for r in rows if r.label == label and metric in r.metrics
  ]
  return statistics.fmean(found) if found else None


def _theory(rows: Sequence[Row]) -> list[str]:
  """Worst case over scenarios and seeds, method by method."""
  exact, biased = [], []
  for label in dict.fromkeys(r.label for r in rows):
    regrets = [r.metrics["regret"] for r in rows if r.label == label]
    if max(regrets) < 1e-3:
      exact.append(f"{label} ({max(regrets):.1e})")
    else:
      biased.append(f"{label} ({min(regrets):.2f} to {max(regrets):.2f})")
  out = []
  if exact:
    out.append(
      "theory: these reach the closed-form optimum on every scenario and seed "
      "run (worst normalised regret in brackets): " + ", ".join(exact) + "."
    )
  if biased:
    out.append(
      "theory: these do not, with infinite data and a full optimisation "
      "(least and worst regret): " + ", ".join(biased) + "."
    )
  return out


def _ops(rows: Sequence[Row]) -> list[str]:
  out = []
  for model in dict.fromkeys(r.model for r in rows if r.track == "ops"):
    here = [r for r in rows if r.track == "ops" and r.model == model]
    out += [f"ops, {model.partition('(')[0]}: {s}" for s in _ops_model(here)]
  return out


def _ops_model(rows: Sequence[Row]) -> list[str]:
  out: list[str] = []
  dro, kto = "dro_v(tau=0.1)", "kto(beta=3.0, threshold=batch)"
  a, b = _mean(rows, dro, "win_vs_sft"), _mean(rows, kto, "win_vs_sft")
  if a is not None and b is not None:
    duel = _duel(rows, dro, kto)
    out.append(
      f"{dro} wins {a:.3f} against SFT and KTO with the paper's batch "
      f"threshold {b:.3f}, a difference of {a - b:+.3f}"
      + (f"; side by side {dro} wins {duel:.3f}" if duel is not None else "")
      + ". The DRO paper reports .634 (T5-L) and .575 (T5-XL) side by side."
    )
  one = _mean(rows, "dro_v", "win_vs_sft")
  if a is not None and one is not None:
    out.append(
      f"the paper's best tau is 1; here tau = 1 wins {one:.3f} and tau = 0.1 "
      f"wins {a:.3f} against SFT. A smaller tau spends more KL, so this "
      + ("does not confirm" if a > one else "agrees with")
      + " the paper's choice at this scale."
    )
  shared = _mean(rows, "dro_v(tau=0.1), shared network", "win_vs_sft")
  if a is not None and shared is not None:
    out.append(
      f"a single network for policy and value wins {shared:.3f} where two win "
      f"{a:.3f}; the paper finds a single network catastrophic, which "
      + ("holds here too." if shared < 0.6 else "does not hold here.")
    )
  batch = _mean(rows, "dro_v(tau=0.1), one V", "win_vs_sft")
  if a is not None and batch is not None:
    out.append(
      f"one value for the whole batch wins {batch:.3f} where a value for "
      f"every example wins {a:.3f}; the paper orders them the same way."
      if batch < a
      else f"one value for the whole batch wins {batch:.3f}, no less than a "
      f"value for every example ({a:.3f}); the paper finds it worse."
    )
  return [*out, *_clipped(rows)]


def _clipped(rows: Sequence[Row]) -> list[str]:
  """How often KTO's z0 was cut off at 0, and what KTO is then."""
  out = []
  for label in dict.fromkeys(r.label for r in rows):
    share = _mean(rows, label, "z0_clipped")
    if share is None:
      continue
    said = f"{label}: z0 was cut off at 0 in {share:.0%} of the steps."
    if share == 1:
      said += (
        " KTO is then apo_zero_unpaired with KTO's threshold: the two forward "
        "passes for z0 change nothing."
      )
    out.append(said)
  return out


def _duel(rows: Sequence[Row], a: str, b: str) -> float | None:
  """Mean win rate of a over b, whichever of the two rows holds it."""
  found = [r.duels[b] for r in rows if r.label == a and b in r.duels]
  found += [1 - r.duels[a] for r in rows if r.label == b and a in r.duels]
  return statistics.fmean(found) if found else None
