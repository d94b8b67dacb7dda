"""Options for selecting the best checkpoint by a judge's win rate."""

import dataclasses

from offalign import spec
from offalign.errors import OPTIONS, UserError, option


@dataclasses.dataclass(frozen=True)
class SelectConfig:
  """Keeps the checkpoint that a judge prefers most, as the DRO paper does.

  Attributes:
    judge: required; a judge by spec, e.g. "gold(fn='package.module:function')"
      or "endpoint(url='https://...', model='NAME')".
    every: steps between two comparisons; default a fifth of the run.
    against: the opponent: a run folder, or a file of completions of the
      held-out prompts; default: the policy that the run starts from.
    prompts: number of held-out prompts to complete, drawn by the seed.
    max_new_tokens: longest completion in tokens; default
      data.max_completion, or as many as the longest completion of the
      training data has where that is left at its default.
    temperature: sampling temperature of both sides; 0 takes the likeliest
      tokens.
    seed: seed of the prompts and the samples, which are the same each time.
  """

  judge: str = ""
  every: int | None = None
  against: str | None = None
  prompts: int = 256
  max_new_tokens: int | None = None
  temperature: float = 1.0
  seed: int = 0

  def __post_init__(self) -> None:
    """Checks the options as far as that needs no data.

    Raises:
      UserError: naming the option.
    """
    spec.check_fields("select", self)
    if not self.judge:
      raise UserError(
        f"{option('select.judge')} is missing: name the judge that selects, or "
        f"leave out the other {OPTIONS} of {option('select')}"
      )
    for name in ("every", "prompts", "max_new_tokens"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise UserError(
          f"{option(f'select.{name}')} must be at least 1, not {value}"
        )
    if self.seed < 0:
      raise UserError(
        f"{option('select.seed')} must be 0 or more, not {self.seed}"
      )
    if self.temperature < 0:
      raise UserError(
        f"{option('select.temperature')} must be 0 or above, not "
        f"{self.temperature}"
      )
