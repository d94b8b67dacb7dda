"""Columns of the board: metrics, their titles, formats and meanings."""

import dataclasses
import math

from offalign.errors import UserError, option, suggest


@dataclasses.dataclass(frozen=True)
class Column:
  """A metric on the board.

  Attributes:
    key: its name in `Row.metrics`.
    title: the column's heading.
    spec: how its value is formatted.
    lower: True where less is better.
    meaning: a clause for the caption.
  """

  key: str
  title: str
  spec: str
  lower: bool
  meaning: str


COLUMNS = (
  Column(
    "regret",
    "regret",
    ".4f",
    True,
    "regret is (J* - J) / (J* - J_ref): 0 for the best policy, 1 for the "
    "reference, above 1 worse than no training",
  ),
  Column(
    "win_vs_sft",
    "win vs SFT",
    ".3f",
    False,
    "the win rate is against the SFT policy on the same prompts, ties 1/2",
  ),
  Column(
    "win_vs_ref",
    "win vs ref",
    ".3f",
    False,
    "the win rate is against the reference policy on the same prompts, ties "
    "1/2",
  ),
  Column(
    "win_vs_baseline",
    "win vs baseline",
    ".3f",
    False,
    "the win rate is against the baseline of the comparison on the same "
    "prompts, ties 1/2",
  ),
  Column(
    "reward_gain",
    "reward gain",
    "+.3f",
    False,
    "the reward gain is the mean reward less that of the reference",
  ),
  Column(
    "kl",
    "KL",
    ".2f",
    True,
    "KL is KL(policy || reference) of a whole completion, nats",
  ),
  Column(
    "efficiency",
    "eff",
    ".3f",
    False,
    "eff, the frontier efficiency, is the reward gain over that of the exact "
    "tilt of the reference at the same KL, 1 on the frontier",
  ),
  Column(
    "value_rmse",
    "value RMSE",
    ".4f",
    True,
    "value RMSE is that of V(x) to its closed form",
  ),
  Column(
    "tokens",
    "tokens",
    ",.0f",
    True,
    "tokens are the completions' tokens that were trained on, without padding, "
    "as often as they were used",
  ),
  Column(
    "exact",
    "exact",
    ".3f",
    False,
    "exact is the share of completions that equal the target",
  ),
)
"""In the order of the table's columns."""

_BY_KEY = {column.key: column for column in COLUMNS}
_ORDER = {"theory": ("regret",)}
_ANY_TRACK = (
  "win_vs_sft",
  "win_vs_ref",
  "win_vs_baseline",
  "reward_gain",
  "regret",
  "efficiency",
)


def column(key: str) -> Column:
  """Returns the column of a metric; one not in `COLUMNS` gets a plain one."""
  return _BY_KEY.get(key) or Column(key, key, ".4g", False, "")


def cell(key: str, value: float) -> str:
  """Formats a mean of a metric."""
  return format(value, column(key).spec) if math.isfinite(value) else str(value)


def spread(key: str, value: float) -> str:
  """Formats a standard deviation of a metric, without a sign."""
  spec = column(key).spec.lstrip("+")
  return format(value, spec) if math.isfinite(value) else str(value)


def sort_column(
  track: str, present: set[str], sort: str | None
) -> Column | None:
  """Chooses the metric by which a group is ranked.

  Args:
    track: the group's track; "theory" is ranked by regret, another by win
      rate, and by the next of reward gain, regret and efficiency without it.
    present: the metrics that the group's rows have.
    sort: the user's choice, `metric`, `metric:min` or `metric:max`; a group
      without that metric keeps its default.

  Returns:
    The column, its `lower` as the user asked; None where no metric ranks.

  Raises:
    UserError: where the direction is neither min nor max.
  """
  if sort is not None:
    key, _, direction = sort.partition(":")
    if direction not in ("", "min", "max"):
      raise UserError(
        f"{option('sort', sort)}: write metric, metric:min or metric:max"
        f"{suggest(direction, ('min', 'max'))}"
      )
    if key in present:
      chosen = column(key)
      lower = direction == "min" if direction else chosen.lower
      return dataclasses.replace(chosen, lower=lower)
  for key in (*_ORDER.get(track, ()), *_ANY_TRACK):
    if key in present:
      return column(key)
  return None
