"""Over-optimisation: the score rises over rounds while a held-out judge falls.

A scorer that a policy maximises is a proxy, and beyond some distance more of it
is less of what it stands for (Gao et al., arXiv:2210.10760). Nothing in the
score itself shows that; a second scorer or held-out feedback may.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from offalign.errors import option
from offalign.policy.best import WIN_RATE

SCORE = "eval_score"
"""The mean score of what the policy writes for held-out prompts."""
JUDGE = "eval_judge/score"
"""The mean score of the same completions by `grow.judge`."""
ACCURACY = "eval_rewards/accuracies"

_JUDGES = {
  JUDGE: "the held-out judge",
  WIN_RATE: "the win rate against the start",
  ACCURACY: "the accuracy on held-out pairs",
}
SHARE = 0.05
"""What a win rate or an accuracy is to fall by: they have no error beside."""

Line = dict[str, Any]


def warning(lines: Sequence[Line]) -> str | None:
  """Whether the score rises while what judges beside it falls.

  Both are compared with the evaluation at which the judge was highest. At the
  last two evaluations the score is above, and the judge below, by more than
  their standard errors; of a judge without one, by more than `SHARE`.

  Args:
    lines: what was logged, by rising step.

  Returns:
    A sentence that names the steps and figures; None where all is well, or
    nothing judges.
  """
  for name, what in _JUDGES.items():
    both = list(_joined(lines, name))
    if len(both) < 3:
      continue
    *before, first, last = both
    best = max(before, key=lambda line: line[name])
    if not all(_apart(best, line, name) for line in (first, last)):
      continue
    return (
      f"the score of held-out prompts rises ({best[SCORE]:.4g} at step "
      f"{best['step']}, {last[SCORE]:.4g} at step {last['step']}) while {what} "
      f"falls ({best[name]:.4g} to {last[name]:.4g}): the policy finds what "
      "the scorer overlooks. Take a checkpoint of about step "
      f"{best['step']}, hold the policy closer by a larger beta or tau, or "
      f"score by several reward models ({option('grow.score')})"
    )
  return None


def _joined(lines: Sequence[Line], name: str) -> Iterator[Line]:
  """Evaluations that have a judge's figure, with the newest score by then."""
  score: Line = {}
  for line in lines:
    if SCORE in line:
      score = {k: line[k] for k in (SCORE, f"{SCORE}_error") if k in line}
    if name in line and score:
      yield {**score, **line}


def _apart(best: Line, line: Line, name: str) -> bool:
  """Whether score and judge have gone opposite ways, beyond their errors."""
  own = 0.0 if name == JUDGE else SHARE
  risen = line[SCORE] - best[SCORE]
  fallen = best[name] - line[name]
  return bool(
    risen > _error(best, line, SCORE, 0.0)
    and fallen > _error(best, line, name, own)
  )


def _error(best: Line, line: Line, name: str, least: float) -> float:
  """The larger standard error of two figures, or what stands for one."""
  key = f"{name}_error"
  return max(least, best.get(key, 0.0), line.get(key, 0.0))
