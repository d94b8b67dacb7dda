"""Where the tokens of a prompt end and those of its completion begin."""

import dataclasses

import numpy as np

from offalign.data.reading.records import Prompt, count


@dataclasses.dataclass(frozen=True)
class Laid:
  """A prompt as tokens, before it is cut.

  Attributes:
    prompt: the prompt.
    before: tokens that survive a cut.
    body: tokens of which the last survive.
    after: tokens that survive a cut.
    text: what completions are tokenised together with, as the user or a chat
      template wrote it; None where they are tokenised apart, because a
      special token comes between or an encoder reads the prompt alone.
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
  """Counts completions whose prompt's tokens are not how the whole begins.

  Such a completion is tokenised apart and put after its prompt, so that the
  prompt's tokens are a prefix in any case; but a model that was trained on
  whole texts has seen other tokens there.

  Attributes:
    checked: all completions that were looked at.
    template: of a conversation, which the chat template does not write as
      its prompt and more.
    across: with a token, of the whole, that lies across the end of the
      prompt.
  """

  checked: int = 0
  template: int = 0
  across: int = 0

  def after(self, prompt: np.ndarray, whole: np.ndarray) -> np.ndarray | None:
    """What follows the prompt; None, and counted, where `whole` has others.

    Args:
      prompt: int32 tokens.
      whole: of prompt and completion together.
    """
    self.checked += 1
    if np.array_equal(whole[: len(prompt)], prompt):
      return whole[len(prompt) :]
    self.across += 1
    return None

  def sentences(self) -> list[str]:
    """What was found; nothing where every prompt is a prefix."""
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
