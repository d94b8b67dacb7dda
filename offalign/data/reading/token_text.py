"""A completion's text that carries its tokens, as they were logged."""

from typing import Any

import numpy as np


class TokenText(str):
  """A completion's text that is encoded already: its ids are used as they are.

  As text it is the completion's, so that whatever shows, counts or judges
  completions sees no difference. Two are equal where text and ids are.

  Attributes:
    text: the completion as it was read; a `WholeMessage` where it is one.
    ids: int32 [T], with the token that ends it where that was logged.
    logps: float32 [T], of each token under the policy that wrote it; nats. Or
      None where none were logged.
  """

  __slots__ = ("ids", "logps", "text")

  text: str
  ids: np.ndarray
  logps: np.ndarray | None

  def __new__(
    cls, text: str, ids: Any, logps: Any | None = None
  ) -> "TokenText":
    """Joins a text with T ids and, where they were logged, T log-probs."""
    made = super().__new__(cls, text)
    made.text = text
    made.ids = np.asarray(ids, np.int32)
    made.logps = None if logps is None else np.asarray(logps, np.float32)
    return made

  def __eq__(self, other: object) -> bool:
    """Whether the other has the same text and the same ids."""
    return (
      isinstance(other, TokenText)
      and str.__eq__(self, other)
      and np.array_equal(self.ids, other.ids)
    )

  def __ne__(self, other: object) -> bool:
    """The contrary of `==`, which `str` has of its own."""
    return not self == other

  def __hash__(self) -> int:
    """Another number than that of the plain text."""
    return hash((TokenText, str(self), self.ids.tobytes()))

  def __repr__(self) -> str:
    """The text and the ids, by which what is drawn may be ordered."""
    return f"{str(self)!r} as {self.ids.tolist()}"

  def __reduce__(self) -> Any:
    """Lets copies and other processes have the tokens too."""
    return TokenText, (self.text, self.ids, self.logps)

  @property
  def logp(self) -> float | None:
    """The sum of `logps`; None where there are none."""
    if self.logps is None:
      return None
    return float(self.logps.astype(np.float64).sum())
