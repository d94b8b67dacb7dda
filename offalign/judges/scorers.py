"""Score completions by themselves: judges that give numbers, as functions."""

from collections.abc import Callable

import numpy as np

from offalign import judges
from offalign.errors import UserError
from offalign.generation.completions import Prompt
from offalign.judges.gold import Gold
from offalign.judges.reward_model import RewardModelJudge

Score = Callable[[list[tuple[Prompt, str]]], np.ndarray]
"""n pairs of prompt and completion -> [n] finite numbers, higher is better."""


def make(spec: str) -> Score:
  """Makes the function that a judge's spec scores by.

  Args:
    spec: as of `judges.make`: "my_file.py:function", "gold(fn=...)" or
      "reward_model(run='DIR')".

  Raises:
    UserError: for a spec that cannot be read, or a judge that compares two
      completions and scores none.
  """
  judge = judges.make(spec)
  if isinstance(judge, RewardModelJudge):
    by_model = judge
    return lambda pairs: by_model.scores(pairs)[0]
  if isinstance(judge, Gold):
    return judge.scores
  raise UserError(
    f"judge {judge.spec} compares two completions, and gives none a score: "
    "name a function, my_file.py:function, or a reward model, "
    "reward_model(run='runs/rm')"
  )
