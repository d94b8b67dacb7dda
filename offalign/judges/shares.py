"""Score completions by comparing them with others of the same prompt.

A completion's score is how often it is preferred to another one, the mean over
the others: self-play preference optimisation's reward (arXiv:2401.04056,
algorithm 2), which needs no reward model and no transitive preferences.
"""

import collections
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from offalign.errors import UserError
from offalign.judges.base import Prompt, as_text
from offalign.judges.endpoint.judge import EndpointJudge


def scores(
  judge: EndpointJudge,
  pairs: Sequence[tuple[Prompt, str]],
  watch: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, dict[str, int]]:
  """The share of comparisons that each completion wins; ties count half.

  Of K completions of a prompt every two are compared, K (K - 1) / 2 of them.

  Args:
    judge: compares.
    pairs: n prompts and completions; equal ones are ties with each other.
    watch: called now and then; what it raises ends the comparing.

  Returns:
    float64 [n] in [0, 1]: the mean over the comparisons that have a verdict,
    NaN of a completion of which the judge gave none: that a copy is a tie
    says nothing of it. And the judge's counts, of comparisons.

  Raises:
    UserError: for a prompt with one completion; or see the judge.
  """
  of_prompt: dict[Prompt, list[int]] = collections.defaultdict(list)
  for i, (prompt, _) in enumerate(pairs):
    of_prompt[prompt].append(i)
  for prompt, members in of_prompt.items():
    if len(members) < 2:
      raise UserError(
        f"judge {judge.spec} compares completions of a prompt, and "
        f"{as_text(prompt)[:60]!r} has one alone: give each two or more, or "
        "have them rated by themselves (rubric=default)"
      )
  both = [
    two
    for members in of_prompt.values()
    for two in itertools.combinations(members, 2)
  ]
  said = judge.compare(
    [pairs[i][0] for i, _ in both],
    [pairs[i][1] for i, _ in both],
    [pairs[j][1] for _, j in both],
    watch,
  )
  won, judged = np.zeros(len(pairs)), np.zeros(len(pairs))
  # Of which a comparison with another text was asked in vain, or answered.
  silent, told = np.zeros(len(pairs), bool), np.zeros(len(pairs), bool)
  for (i, j), preferred in zip(both, said.preferences, strict=True):
    if np.isnan(preferred):
      silent[[i, j]] = True
      continue
    won[i] += preferred
    won[j] += 1 - preferred
    judged[[i, j]] += 1
    told[[i, j]] |= pairs[i][1] != pairs[j][1]
  known = (judged > 0) & (told | ~silent)
  shares = np.divide(won, judged, out=np.full(len(pairs), np.nan), where=known)
  return shares, dict(said.counts)
