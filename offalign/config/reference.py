"""What a run holds its policy close to: the option `reference`, read."""

import dataclasses
import re
from typing import Literal

from offalign.errors import UserError, option

CHOICES = "start, round, ema(DECAY), or the run folder or model to hold to"
_CALL = re.compile(r"(start|round|ema)\s*\((.*)\)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class ReferenceChoice:
  """Which policy is the reference, pi_ref, and when it changes.

  Attributes:
    kind: "start" the policy that the run starts from; "run" another policy,
      which never changes; "round" the policy at the last border between
      rounds, as REBEL and mirror descent have it; "ema" an average that
      follows the policy at borders, as in TR-DPO (arXiv:2404.09656).
    run: of "run": a run folder, a Hugging Face model folder, or a name on
      its hub.
    decay: of "ema": the share of the old reference that a border keeps, in
      (0, 1); 1 - TR-DPO's alpha.
  """

  kind: Literal["start", "run", "round", "ema"] = "start"
  run: str | None = None
  decay: float | None = None

  @property
  def moves(self) -> bool:
    """Whether the reference changes at borders between rounds."""
    return self.kind in ("round", "ema")

  @property
  def kept(self) -> float:
    """The share of the old reference that a border keeps: 1 = all of it."""
    if self.kind == "round":
      return 0.0
    return 1.0 if self.decay is None else self.decay

  def identity(self, first: str, round_: int) -> str:
    """Names a reference's weights, as stored log-probs are filed under.

    Args:
      first: names the weights of the reference in the first round.
      round_: from 0.

    Returns:
      `first` where the reference does not move, and in the first round.
    """
    if not self.moves or not round_:
      return first
    return f"{first}; {self} of round {round_}"

  def __str__(self) -> str:
    if self.kind == "run":
      return str(self.run)
    return self.kind if self.decay is None else f"ema({self.decay:g})"


def parse(text: str) -> ReferenceChoice:
  """Reads `start`, `round`, `ema(DECAY)`, or a run folder or model.

  >>> parse("ema(0.9)")
  ReferenceChoice(kind='ema', run=None, decay=0.9)
  >>> parse("runs/sft").kind
  'run'

  Args:
    text: as the option has it. A folder of one of these names is written
      with its path, as ./round.

  Raises:
    UserError: where the text is none of them.
  """
  text = text.strip()
  if not text:
    raise UserError(f"{option('reference')} is empty: give {CHOICES}")
  if text == "start":
    return ReferenceChoice("start")
  if text == "round":
    return ReferenceChoice("round")
  if text == "ema":
    raise UserError(
      f"{option('reference', text)} does not say how much of the old reference "
      "a border keeps: write it like ema(0.9)"
    )
  call = _CALL.fullmatch(text)
  if call is None:
    return ReferenceChoice("run", run=text)
  name, inside = call[1], call[2].strip()
  if name != "ema":
    raise UserError(
      f"{option('reference', text)}: {name} takes no options; write {name}"
    )
  try:
    decay = float(inside.removeprefix("decay").lstrip(" ="))
  except ValueError:
    decay = -1.0
  if not 0 < decay < 1:
    raise UserError(
      f"{option('reference', text)}: the decay is the share of the old "
      "reference that a border keeps, a number between 0 and 1 (of 0, write "
      "round; of 1, write start), as in ema(0.9)"
    )
  return ReferenceChoice("ema", decay=decay)


def refuse_without_rounds(choice: ReferenceChoice) -> None:
  """Refuses a reference that moves, for a run that has no rounds.

  Raises:
    UserError: naming the option.
  """
  if choice.moves:
    raise UserError(
      f"{option('reference', choice)} changes the reference at each border "
      "between rounds, and this run has no rounds; give start, or the run "
      "folder or model to hold to"
    )
