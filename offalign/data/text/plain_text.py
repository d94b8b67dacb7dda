"""The layout of plain text, and of conversations by our own tokenizers.

  prompt, text:          what the tokenizer puts before it (BOS), the text,
                         and what an encoder wants after it (EOS)
  prompt, conversation:  BOS, (role marker, content, newline) for each
                         message, then the marker of the assistant
  completion:            the text, EOS

A completion that follows its prompt's text directly is tokenised with it, as
a decoder read it when it was pretrained, as long as the prompt's tokens are
how the whole begins; else apart, after the prompt.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from offalign.data.reading.records import TOOLS, Message, Prompt
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text.boundary import Boundaries, Followed, Laid, Turn
from offalign.data.text.special_tokens import Plain
from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Texts:
  """Encodes prompts and completions without a chat template.

  Attributes:
    plain: encodes text.
    markers: role -> token before its messages; empty where conversations are
      not laid out so.
    before: tokens before the text of a prompt.
    after: tokens after it.
    eos_id: ends a completion.
  """

  plain: Plain
  markers: dict[str, int]
  before: list[int]
  after: list[int]
  eos_id: int

  def lay(self, prompts: Sequence[Prompt]) -> list[Laid]:
    """Prompts as tokens."""
    texts: list[str] = []
    for prompt in prompts:
      if isinstance(prompt, str):
        texts.append(prompt)
      else:
        texts += [f"{message.content}\n" for message in prompt]
    encoded = iter(self.plain.encode(texts))
    before, after = _array(self.before), _array(self.after)
    laid = []
    for prompt in prompts:
      if isinstance(prompt, str):
        text = None if self.after else prompt
        laid.append(Laid(prompt, before, next(encoded), after, text))
        continue
      _check(prompt)
      parts: list[np.ndarray] = []
      for message in prompt:
        role = message.role if message.role in self.markers else "system"
        parts += [_array([self.markers[role]]), next(encoded)]
      parts.append(_array([self.markers["assistant"]]))
      laid.append(Laid(prompt, before, np.concatenate(parts), after, None))
    return laid

  def follow(self, turns: Sequence[Turn], found: Boundaries) -> list[Followed]:
    """Completions, each with its EOS.

    Args:
      turns: what `lay` made, and the texts of completions.
      found: counts.
    """
    for at, y in turns:
      if not isinstance(at.prompt, str):
        _check([Message("assistant", y)])
    wholes = self.plain.encode([(at.text or "") + y for at, y in turns])
    followed = []
    for (at, y), ids in zip(turns, wholes, strict=True):
      body: np.ndarray | None = ids
      if at.text is not None:
        body = found.after(at.body, ids)
      if body is None:
        body = _array(self.plain.inside(y))
      followed.append((np.append(body, np.int32(self.eos_id)), 0))
    return followed


def _check(messages: Sequence[Message]) -> None:
  """Refuses what only a chat template has a place for."""
  for message in messages:
    if message.role in (TOOLS, "tool") or isinstance(
      message.content, WholeMessage
    ):
      raise UserError(
        "the conversation has tools, tool calls or reasoning, and this "
        "tokenizer has no chat template to write them; take one that has, "
        "write them into the messages' content, or remove them"
      )


def _array(ids: Sequence[int]) -> np.ndarray:
  return np.array(ids, np.int32)
