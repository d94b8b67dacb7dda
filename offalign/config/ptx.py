"""Options of a second source: demonstrations to imitate in each step."""

import dataclasses

from offalign import spec
from offalign.errors import OPTIONS, UserError, option


@dataclasses.dataclass(frozen=True)
class PtxConfig:
  """Adds coef * sft on demonstrations to the loss, as InstructGPT's PPO-ptx.

  loss + coef * E[-log pi(y|x)] a token (Ouyang et al., arXiv:2203.02155,
  equation 2, where the second term is pretraining's; a mean over the tokens of
  the step's demonstrations). Demonstrations are rows of their own, beside
  those of the loss: each term is a mean over its own rows of the global batch.

  Attributes:
    path: required; the demonstrations, in the forms that `data.path` takes.
      Read as the loss sft reads them, with the limits on tokens of `data`.
    coef: weight of the term; default 1.
    batch_size: demonstrations in an update; default as many as prompts.
  """

  path: str = ""
  coef: float = 1.0
  batch_size: int | None = None

  def __post_init__(self) -> None:
    """Checks the options as far as that needs no data.

    Raises:
      UserError: naming the option.
    """
    spec.check_fields("ptx", self)
    if not self.path:
      raise UserError(
        f"{option('ptx.path')} is missing: name the demonstrations, or leave "
        f"out the other {OPTIONS} of {option('ptx')}"
      )
    if self.coef <= 0:
      raise UserError(
        f"{option('ptx.coef')} must be a number above 0, not {self.coef}"
      )
    if self.batch_size is not None and self.batch_size < 1:
      raise UserError(
        f"{option('ptx.batch_size')} must be at least 1, not {self.batch_size}"
      )
