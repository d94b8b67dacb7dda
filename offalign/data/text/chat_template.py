"""Chat templates: a conversation -> the text that a model was trained on.

They are rendered as `transformers` renders them, by jinja2; what a template can
reach is the messages and the special tokens' text, and what it can do is
bounded, see `offalign.data.text.sandbox`.
"""

import functools
from collections.abc import Mapping, Sequence

from offalign.data.reading.records import Message
from offalign.data.text import sandbox
from offalign.errors import UserError


class ChatTemplate:
  """A compiled template; see the module."""

  def __init__(self, source: str, special_tokens: Mapping[str, str]):
    """Compiles.

    Args:
      source: the template.
      special_tokens: what it sees besides the messages: "bos_token" -> "<s>".

    Raises:
      UserError: where the template is not valid.
    """
    self.source = source
    self._special_tokens = dict(special_tokens)
    self._environment = sandbox.environment()
    try:
      self._template = self._environment.from_string(source)
    except Exception as error:  # a template can break its compiler too
      raise UserError(
        f"the tokenizer's chat template is not valid: {_short(error)}"
      ) from error

  def render(
    self, messages: Sequence[Message], *, add_generation_prompt: bool
  ) -> str:
    """Writes a conversation.

    Args:
      messages: the turns.
      add_generation_prompt: whether what comes before the assistant's next
        turn follows.

    Raises:
      UserError: where the template fails, refuses the conversation, or
        goes beyond the bounds of `sandbox`.
    """
    asked = any(m.role == "developer" for m in messages)
    if asked and not self._has_developer:
      messages = [
        m._replace(role="system") if m.role == "developer" else m
        for m in messages
      ]
    return self._render(messages, add_generation_prompt)

  @functools.cached_property
  def _has_developer(self) -> bool:
    """Whether what a developer says is in what the template writes."""
    said = "offalign-developer"
    asked = [Message("developer", said), Message("user", "x")]
    try:
      return said in self._render(asked, True)
    except UserError:
      return False

  def _render(self, messages: Sequence[Message], generation: bool) -> str:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    pieces: list[str] = []
    written = 0
    self._environment.begin()
    try:
      for piece in self._template.generate(
        messages=turns,
        tools=None,
        documents=None,
        add_generation_prompt=generation,
        **self._special_tokens,
      ):
        written += len(piece)
        if written > sandbox.MAX_CHARACTERS:
          raise sandbox.TooLong
        pieces.append(piece)
    except Exception as error:  # whatever untrusted code may raise
      roles = ", ".join(m.role for m in messages)
      raise UserError(
        f"the tokenizer's chat template fails on a conversation of {roles}: "
        f"{_short(error)}"
      ) from error
    return "".join(pieces)


def _short(error: Exception, limit: int = 300) -> str:
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= limit else text[:limit] + "..."
