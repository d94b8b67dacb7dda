"""The canonical record that every file format becomes."""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np

from offalign.data.reading.marks import Marks
from offalign.data.reading.memory import Rows
from offalign.data.reading.token_text import TokenText
from offalign.errors import Sentence, marked

FormName = Literal[
  "traj",
  "label",
  "pairs",
  "groups",
  "sft",
  "messages",
  "ultrafeedback",
  "sharegpt",
  "alpaca",
  "steps",
  "stepwise",
]
"""What a table of feedback can hold; see `forms.FORMS`."""

ROLES = ("system", "user", "assistant")
READ_ROLES = (*ROLES, "developer", "tool")
"""A template that has no developer is given a system message instead."""

TOOLS = "tools"
"""The role of a conversation's first message where it has tools: their JSON."""


class Message(NamedTuple):
  """One turn of a conversation.

  Attributes:
    role: one of `READ_ROLES`, or `TOOLS`.
    content: its text; a `WholeMessage` where it has more than text.
  """

  role: str
  content: str


Prompt = str | tuple[Message, ...]
"""Plain text, or the turns that come before an assistant's reply."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """A prompt with its completions and what is known about them.

  A completion is always text: where the prompt is a conversation, it is the
  content of the assistant's next turn. Where its tokens were logged, it is a
  `TokenText`, and they are used in place of what the text encodes to.

  Attributes:
    prompt: text or conversation.
    completions: at least one.
    rewards: one finite number a completion, or None where none were logged.
    labels: one a completion, True = desirable; or None.
    ranked: True for a pair: completion 0 was preferred to completion 1.
    source: "file:row", rows from 0; "the list:row" for rows in memory.
    behaviour_logps: one a completion, the sum of its tokens' log-probs (nats)
      under the policy that wrote it; or None where none were logged.
    margin: of a pair, how much better the chosen completion was rated, in the
      units of its scores; or None where none was logged.
    aspects: one tuple a completion, the values that its reward was added up
      from; or None where rewards are numbers. See `aspects.Aspects`.
    marks: one a completion, what is known of its parts; None where the data
      has no column of it.
    turns: of a conversation whose turns were rated, those before the
      completion: (which message of the prompt, its reward or label).
  """

  prompt: Prompt
  completions: tuple[str, ...]
  rewards: tuple[float, ...] | None
  labels: tuple[bool, ...] | None
  ranked: bool
  source: str
  behaviour_logps: tuple[float, ...] | None = None
  margin: float | None = None
  aspects: tuple[tuple[float, ...], ...] | None = None
  marks: tuple[Marks, ...] | None = None
  turns: tuple[tuple[int, Any], ...] = ()

  @property
  def ids(self) -> tuple[np.ndarray, ...] | None:
    """Token ids of each completion, as logged; None where they were not."""
    logged = [x.ids for x in self.completions if isinstance(x, TokenText)]
    return tuple(logged) if len(logged) == len(self.completions) else None

  @property
  def logprobs(self) -> tuple[np.ndarray, ...] | None:
    """Log-probs of each of those tokens, as logged; None where none were."""
    logged = [
      x.logps
      for x in self.completions
      if isinstance(x, TokenText) and x.logps is not None
    ]
    return tuple(logged) if len(logged) == len(self.completions) else None


@dataclasses.dataclass(frozen=True)
class Problem:
  """One thing that is wrong with one row.

  Attributes:
    file: path as the user wrote it, or the name of a data set or of rows in
      memory.
    row: from 0; in JSON lines the line, blank ones included.
    column: the column at fault, or None where it is the whole row.
    what: what is wrong with it.
  """

  file: str
  row: int
  column: str | None
  what: str

  def __str__(self) -> str:
    column = "" if self.column is None else f", column {self.column!r}"
    row = f"{self.file}, row {self.row}"
    if isinstance(self.file, Rows):
      row = f"row {self.row} of {self.file}"
    return f"{row}{column}: {self.what}"

  @property
  def sentence(self) -> Sentence:
    """The text of `str`, with the options that `what` names."""
    return Sentence(str(dataclasses.replace(self, what=marked(self.what))))


def quote(value: object, limit: int = 40) -> str:
  """repr(value), cut to about `limit` characters; for messages."""
  text = repr(value[:limit] if isinstance(value, str) else value)
  return text if len(text) <= limit + 2 else text[:limit] + "..."


def count(number: int, noun: str) -> str:
  """ "1,385 rows", "1 row"; for messages."""
  if number == 1:
    return f"1 {noun}"
  plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
  return f"{number:,} {plural}"
