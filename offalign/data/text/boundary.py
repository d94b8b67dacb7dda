"""The token boundary between a prompt and its completion."""

import dataclasses

import numpy as np

from offalign.data.reading.records import Prompt, count


@dataclasses.dataclass(frozen=True)
class Laid:
  """A prompt as tokens, before it is cut.

  Attributes:
    prompt: the prompt.
    before: tokens in front of the body; a cut leaves them.
    body: tokens of the prompt's text; a cut keeps the last of them.
    after: tokens behind the body; a cut leaves them.
    text: the prompt's text, as the user or a chat template wrote it, that
      completions are tokenised together with; None where completions are
      tokenised separately, because a special token comes between or an
      encoder reads the prompt alone.
  """

  prompt: Prompt
  before: np.ndarray
  body: np.ndarray
  after: np.ndarray
  text: str | None


Turn = tuple[Laid, str]
"""A prompt and the text of a completion."""

Followed = tuple[np.ndarray, int]
"""All tokens of a completion, and how many come before those of its text."""


@dataclasses.dataclass
class Boundaries:
  """Counts completions for which prompt + completion loses the prompt's tokens.

  There, tokenising prompt + completion together does not start with the
  prompt's own tokens. Such a completion is tokenised separately and appended,
  so that the prompt's tokens are always a prefix; but a model that was trained
  on whole texts has seen other tokens at the boundary.

  Attributes:
    checked: all completions that were compared.
    template: conversations that the chat template does not format as their
      prompt followed by more text.
    across: cases where one token spans the boundary.
    lost: `round_trip.Lost` flags of each reply that a template wrote.
  """

  checked: int = 0
  template: int = 0
  across: int = 0
  lost: list[int] = dataclasses.field(default_factory=list)

  def after(self, prompt: np.ndarray, whole: np.ndarray) -> np.ndarray | None:
    """The tokens after the prompt, if `whole` starts with the prompt's tokens.

    Otherwise counts the case in `across` and returns None.

    Args:
      prompt: int32 tokens of the prompt.
      whole: int32 tokens of prompt and completion tokenised together.
    """
    self.checked += 1
    if np.array_equal(whole[: len(prompt)], prompt):
      return whole[len(prompt) :]
    self.across += 1
    return None

  def sentences(self) -> list[str]:
    """Sentences about what was found; empty if every prompt is a prefix."""
    after = "tokenised apart and put after the prompt"
    said = []
    if self.template:
      said.append(
        f"{self._share(self.template)}: the chat template does not write the "
        f"conversation as its prompt and more; {after}"
      )
    if self.across:
      said.append(
        f"{self._share(self.across)}: a token of prompt and completion "
        f"together lies across the prompt's end; {after}"
      )
    return said

  def _share(self, number: int) -> str:
    return f"{number:,} of {count(self.checked, 'distinct completion')}"
