"""Score completions: judges that give numbers, behind one small interface."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from offalign import judges
from offalign.data.reading.records import count
from offalign.errors import UserError
from offalign.generation.completions import Prompt
from offalign.judges import shares
from offalign.judges.endpoint.asker import AtEndpoint
from offalign.judges.endpoint.judge import EndpointJudge
from offalign.judges.endpoint.rater import Rater
from offalign.judges.gold import Gold
from offalign.judges.reward_model import RewardModelJudge

Pairs = list[tuple[Prompt, str]]
Score = Callable[[Pairs], np.ndarray]
"""n pairs of prompt and completion -> [n] numbers, higher is better."""

Watch = Callable[[], None]

_UNANSWERED = ("failed", "capped")


@dataclasses.dataclass(frozen=True)
class Scorer:
  """Gives completions numbers; a `Score` that can say more.

  Attributes:
    spec: of the judge.
    counted: n pairs -> float64 [n], and what happened, name -> number. The
      second argument is called now and then while an endpoint is asked, and
      what it raises ends the asking.
    partial: whether some completions may have no number, which is NaN.
    alone: whether a completion is scored by itself; else by comparing it with
      the others of its prompt.
  """

  spec: str
  counted: Callable[[Pairs, Watch], tuple[np.ndarray, dict[str, int]]]
  partial: bool = False
  alone: bool = True

  def __call__(self, pairs: Pairs) -> np.ndarray:
    """The numbers alone."""
    return self.counted(pairs, unwatched)[0]


def unwatched() -> None:
  """Lets an endpoint be asked to the end."""


def is_alone(spec: str) -> bool:
  """Whether what a spec names scores a completion by itself; see `Scorer`.

  Raises:
    UserError: for a spec that cannot be read.
  """
  if not spec.strip().startswith("endpoint"):  # of others code may be run
    return True
  made = judges.options(spec)
  return not isinstance(made, judges.Endpoint) or made.rubric is not None


def make(spec: str, folder: str | pathlib.Path | None = None) -> Scorer:
  """Makes what scores by a judge's spec.

  Args:
    spec: as of `judges.make`: "my_file.py:function", "gold(fn=...)",
      "reward_model(...)" of one run or of an ensemble, or "endpoint(...)",
      which rates by its rubric, or without one compares the completions of a
      prompt with each other.
    folder: where an endpoint's answers are kept; None = in memory.

  Returns:
    The scorer. Of an endpoint it raises where a question stays unanswered
    after all retries, or `max_calls` is reached, since the same call then
    goes on; a completion that the model will not rate is NaN.

  Raises:
    UserError: for a spec that cannot be read, or people's ratings, which are
      of pairs that are there already.
  """
  judge = judges.make(spec, folder)
  if isinstance(judge, RewardModelJudge):
    by_model = judge
    return Scorer(judge.spec, lambda pairs, _: by_model.scores(pairs))
  if isinstance(judge, Gold):
    gold = judge
    return Scorer(judge.spec, lambda pairs, _: (gold.scores(pairs), {}))
  if isinstance(judge, Rater):
    rater = judge
    return Scorer(
      judge.spec,
      lambda pairs, watch: _answered(rater, *rater.scores(pairs, watch)),
      partial=True,
    )
  if isinstance(judge, EndpointJudge):
    other = judge
    return Scorer(
      judge.spec,
      lambda pairs, watch: _answered(
        other, *shares.scores(other, pairs, watch)
      ),
      partial=True,
      alone=False,
    )
  raise UserError(
    f"judge {judge.spec} compares two completions, and gives none a score: "
    "name a function, my_file.py:function, a reward model, "
    "reward_model(run='runs/rm'), or an endpoint"
  )


def _answered(
  judge: AtEndpoint, found: np.ndarray, counts: dict[str, int]
) -> tuple[np.ndarray, dict[str, int]]:
  """Refuses scores where questions are open that may yet be answered."""
  failed, capped = (counts[name] for name in _UNANSWERED)
  if failed:
    raise UserError(
      f"{judge.options.target} left {count(failed, 'question')} unanswered "
      f"({judge.why}); its answers so far are kept, and the same command goes "
      "on from them"
    )
  if capped:
    raise UserError(
      f"max_calls={judge.options.max_calls} was reached with "
      f"{count(capped, 'question')} not asked; it counts anew at each start, "
      "so the same command goes on from the answers so far"
    )
  return found, counts
