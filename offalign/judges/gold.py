"""Judge by a function of the user's: the programmatic gold reward."""

import dataclasses
import importlib
import math
import types
from collections.abc import Callable, Sequence

import numpy as np

from offalign import spec, user_code
from offalign.errors import UserError
from offalign.judges.base import Prompt, Verdicts, as_text, by_scores

Score = Callable[[str, str], float]


@dataclasses.dataclass(frozen=True)
class Gold:
  """Prefers the completion that a function gives more.

  Attributes:
    fn: "my_file.py:function" or "package.module:function", run when the judge
      is made: name only code that you mean to run. The function takes the
      prompt's text and the completion's, and returns a finite number.
    tie: scores that differ by no more are a tie.
  """

  fn: str = ""
  tie: float = 0.0
  _score: Score = dataclasses.field(
    init=False, repr=False, compare=False, hash=False
  )

  def __post_init__(self) -> None:
    _check_tie(self.tie)
    object.__setattr__(self, "_score", _load(self.fn))

  @classmethod
  def of(cls, score: Score, tie: float = 0.0) -> "Gold":
    """The judge of a function that is at hand.

    Args:
      score: (prompt's text, completion) -> a finite number, higher is better.
      tie: scores that differ by no more are a tie.
    """
    made = object.__new__(cls)
    name = getattr(score, "__qualname__", type(score).__name__)
    module = getattr(score, "__module__", None) or "__main__"
    fields = {"fn": f"{module}:{name}", "tie": tie, "_score": score}
    for field, value in fields.items():
      object.__setattr__(made, field, value)
    _check_tie(tie)
    return made

  @property
  def spec(self) -> str:
    """See `Judge`."""
    options = {"fn": self.fn} | ({"tie": self.tie} if self.tie else {})
    return spec.unparse("gold", options)

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`; counts "scored", the distinct completions."""
    return by_scores(self.scores, prompts, a, b, tie=self.tie)

  def scores(self, pairs: list[tuple[Prompt, str]]) -> np.ndarray:
    """Returns the function's number of each (prompt, completion), float64 [n].

    Raises:
      UserError: where the function fails, or gives no finite number.
    """
    found = []
    for prompt, completion in pairs:
      try:
        value = self._score(as_text(prompt), completion)
      except Exception as error:  # whatever the user's code raises
        raise UserError(
          f"judge 'gold': {user_code.raised(self.fn, error)}, for the "
          f"completion {completion[:60]!r}"
        ) from error
      try:
        number = float(value)
      except (TypeError, ValueError):
        number = math.nan
      if not math.isfinite(number):
        raise UserError(
          f"judge 'gold': {self.fn} gave {value!r} for the completion "
          f"{completion[:60]!r}; it must return a finite number"
        )
      found.append(number)
    return np.array(found)


def _check_tie(tie: float) -> None:
  if tie < 0:
    raise UserError(f"judge 'gold': tie must be 0 or more, not {tie}")


def _load(name: str) -> Score:
  module, _, function = name.rpartition(":")
  hidden = module.startswith(".") and not module.endswith(".py")
  if not (module and function) or hidden:
    raise UserError(
      f"judge 'gold': fn is {name!r}; write it like "
      "gold(fn='my_file.py:function') or gold(fn='package.module:function')"
    )
  try:
    found = getattr(_module(module), function)
  except (ImportError, AttributeError, UserError) as error:
    raise UserError(f"judge 'gold': {name} cannot be had: {error}") from error
  if not callable(found):
    raise UserError(f"judge 'gold': {name} is no function, but {found!r}")
  loaded: Score = found
  return loaded


def _module(name: str) -> types.ModuleType:
  if name.endswith(".py"):
    return user_code.load_file(name)
  user_code.include_here()
  try:
    return importlib.import_module(name)
  except ImportError:
    raise
  except Exception as error:  # whatever the user's code raises
    raise UserError(user_code.raised(f"importing {name}", error)) from error
