"""Head-to-head table of methods from side-by-side win rates."""

from collections.abc import Sequence

from offalign.leaderboard.board import Stat, mean
from offalign.leaderboard.rows import Row

_TOLERANCE = 1e-6  # between the two directions of one duel


def head_to_head(
  rows: Sequence[Row], labels: Sequence[str]
) -> tuple[dict[tuple[str, str], Stat], list[str]]:
  """Averages side-by-side win rates over seeds.

  A duel given in one direction is 1 - p in the other. Given in both, its
  share is the mean of the two, and a difference is reported.

  Args:
    rows: of one group, one for each label and seed.
    labels: the group's methods; an opponent is named by its label, or by its
      loss where that loss has one label.

  Returns:
    (a, b) -> share of prompts that a wins against b, for both orders of each
    pair that met; and sentences about duels left out or at odds.
  """
  losses: dict[str, set[str]] = {}
  for row in rows:
    losses.setdefault(row.loss, set()).add(row.label)
  shares: dict[tuple[str, str], dict[int, list[float]]] = {}
  notes: list[str] = []
  for row in rows:
    for opponent, share in sorted(row.duels.items()):
      named = {opponent} & set(labels) or losses.get(opponent, set())
      if len(named) != 1 or row.label in named:
        notes.append(
          f"{row.label}, seed {row.seed}: the duel against {opponent!r} is "
          f"left out, it names {len(named)} other methods of this table."
        )
        continue
      (other,) = named
      forward = row.label < other
      pair = (row.label, other) if forward else (other, row.label)
      by_seed = shares.setdefault(pair, {}).setdefault(row.seed, [])
      by_seed.append(share if forward else 1.0 - share)
  table: dict[tuple[str, str], Stat] = {}
  for (a, b), met in sorted(shares.items()):
    for seed, given in sorted(met.items()):
      if max(given) - min(given) > _TOLERANCE:
        notes.append(
          f"{a} against {b}, seed {seed}: the two rows disagree "
          f"({given[0]:.3f}, {given[1]:.3f}); their mean is used."
        )
    means = {seed: mean(given) for seed, given in sorted(met.items())}
    table[a, b] = Stat(means)
    table[b, a] = Stat({seed: 1.0 - share for seed, share in means.items()})
  return table, notes
