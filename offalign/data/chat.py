"""Chat templates: a conversation -> the text that a model was trained on.

They are rendered as `transformers` renders them, by jinja2 in a sandbox: a
template comes with a checkpoint, is code, and is not trusted. It reaches
nothing but the messages and the names of the special tokens, and what it
writes is bounded. (Its running time is not: a template can loop for long.)
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes, parser, sandbox

from offalign.data.records import Message
from offalign.errors import UserError

MAX_CHARACTERS = 10_000_000
"""The longest text that a template may write."""


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
    try:
      self._template = _environment().from_string(source)
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
        writes more than `MAX_CHARACTERS`.
    """
    turns = [{"role": m.role, "content": m.content} for m in messages]
    pieces: list[str] = []
    written = 0
    try:
      for piece in self._template.generate(
        messages=turns,
        tools=None,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **self._special_tokens,
      ):
        written += len(piece)
        if written > MAX_CHARACTERS:
          raise _TooLong
        pieces.append(piece)
    except Exception as error:  # whatever untrusted code may raise
      roles = ", ".join(m.role for m in messages)
      raise UserError(
        f"the tokenizer's chat template fails on a conversation of {roles}: "
        f"{_short(error)}"
      ) from error
    return "".join(pieces)


class _TooLong(Exception):
  def __str__(self) -> str:
    return f"it writes more than {MAX_CHARACTERS:,} characters"


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
  """A sandbox in which no product or power is huge."""

  intercepted_binops = frozenset(["*", "**"])

  def call_binop(
    self, context: Any, operator: str, left: Any, right: Any
  ) -> Any:
    if operator == "**" and not (abs(left) <= 1e3 and abs(right) <= 64):
      raise _TooLong
    for one, times in ((left, right), (right, left)):
      if hasattr(one, "__len__") and len(one) * times > MAX_CHARACTERS:
        raise _TooLong
    return super().call_binop(context, operator, left, right)


class _Generation(jinja2.ext.Extension):
  """{% generation %}, which marks an assistant's turn and writes nothing."""

  tags = {"generation"}  # noqa: RUF012 (as jinja2 wants it)

  def parse(self, parser: parser.Parser) -> nodes.Node:
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    call = self.call_method("_written")
    return nodes.CallBlock(call, [], [], body).set_lineno(line)

  def _written(self, caller: Any) -> str:
    return caller()


class _Dict:
  """`dict`, without a way to the class."""

  def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _environment() -> jinja2.Environment:
  environment = _Sandbox(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[_Generation, jinja2.ext.loopcontrols],
  )
  environment.filters["tojson"] = _to_json
  environment.globals["raise_exception"] = _raise
  environment.globals["strftime_now"] = _now
  environment.globals["dict"] = _Dict()
  return environment


def _to_json(
  value: Any,
  ensure_ascii: bool = False,
  indent: Any = None,
  separators: Any = None,
  sort_keys: bool = False,
) -> str:
  """JSON without jinja2's escapes for HTML."""
  return json.dumps(
    value,
    ensure_ascii=ensure_ascii,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )


def _raise(message: str) -> None:
  raise jinja2.TemplateError(message)


def _now(form: str) -> str:
  return datetime.datetime.now().strftime(form)


def _short(error: Exception, limit: int = 300) -> str:
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= limit else text[:limit] + "..."
