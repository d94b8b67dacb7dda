"""Rewards for completions: as logged, from pairs, or from labels."""

import dataclasses

from offalign.data.reading.records import count
from offalign.data.views.feedback import NO_FEEDBACK, Notes, Scored, mean
from offalign.errors import UserError


def with_rewards(
  items: list[Scored], *, share_of_wins: bool, notes: Notes
) -> list[Scored]:
  """Gives every completion a reward.

  Args:
    items: completions of one form.
    share_of_wins: whether their rewards come from comparisons.
    notes: what is done is noted here.

  Raises:
    UserError: where nothing says how good they are.
  """
  if share_of_wins:
    rated = [item for item in items if item.reward is not None]
    unrated = len(items) - len(rated)
    whole = sum(item.reward in (0.0, 1.0) for item in rated)
    notes.add(
      "rewards made from pairs: a completion's share of its comparisons won "
      f"({whole:,} of {len(rated):,} won all or none)",
      rewards_made=len(rated),
    )
    if unrated:
      notes.add(
        f"{count(unrated, 'completion')} left out: compared only with the "
        "same text",
        completions_uncompared=unrated,
      )
    return rated
  if items[0].reward is not None:
    logged = [item.value for item in items]
    notes.add(
      f"rewards as logged: mean {mean(logged):.4g}, from {min(logged):.4g} to "
      f"{max(logged):.4g}"
    )
    return items
  if items[0].label is None:
    raise UserError(f"this loss needs rewards, and {NO_FEEDBACK}")
  desirable = sum(bool(item.label) for item in items)
  notes.add(
    f"rewards made from labels: 1 for true ({desirable:,}), 0 for false "
    f"({len(items) - desirable:,})",
    rewards_made=len(items),
  )
  return [dataclasses.replace(i, reward=float(bool(i.label))) for i in items]
