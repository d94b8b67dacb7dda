"""Many comparisons at once: Holm's correction, and what can be the best."""

from collections.abc import Mapping, Sequence

import numpy as np

ALPHA = 0.05
"""The chance that any of a table's differences is called real by mistake."""


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's (1979) adjusted p-values, in the order given.

  Those of at most `ALPHA` are resolved, with a chance of `ALPHA` at most that
  any one of them is so by mistake.

  >>> holm([0.01, 0.04, 0.03])
  [0.03, 0.06, 0.06]
  """
  p = np.asarray(p_values, np.float64)
  order = np.argsort(p, kind="stable")
  steps = p[order] * np.arange(len(p), 0, -1)
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
  return adjusted.tolist()


def top_set(
  names: Sequence[str],
  p_values: Mapping[tuple[str, str], float],
  alpha: float = ALPHA,
) -> tuple[str, ...]:
  """The names that no other is resolved to be better than.

  Args:
    names: best first.
    p_values: Holm's, of all pairs (better, worse) in the order of `names`.
    alpha: at which a difference is resolved.

  Returns:
    Some of the names, the first among them, in their order. Equals of which
    any is left out are left out with a chance of `alpha` at most.
  """
  place = {name: i for i, name in enumerate(names)}
  beaten = {
    worse
    for (better, worse), p in p_values.items()
    if p <= alpha and place[better] < place[worse]
  }
  return tuple(name for name in names if name not in beaten)
