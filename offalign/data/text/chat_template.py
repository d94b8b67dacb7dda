"""Chat templates: a conversation -> the text that a model was trained on.

They are rendered as `transformers` renders them, by jinja2 in a sandbox: a
template comes with a checkpoint, is code, and is not trusted. It reaches
nothing but the messages and the special tokens' text, and how much it writes
and how often it loops or calls are bounded. (Its memory is not: a filter can
still make one huge string.)
"""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.utils
from jinja2 import nodes, parser, sandbox

from offalign.data.reading.records import Message
from offalign.errors import UserError

MAX_CHARACTERS = 10_000_000
"""The longest text that a template may write."""

MAX_STEPS = 1_000_000
"""Most passes of loops and calls, together, for one conversation."""


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
    self._environment = _environment()
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
        writes more than `MAX_CHARACTERS`.
    """
    turns = [{"role": m.role, "content": m.content} for m in messages]
    pieces: list[str] = []
    written = 0
    self._environment.steps = 0
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


class _TooMany(Exception):
  def __str__(self) -> str:
    return f"it takes more than {MAX_STEPS:,} steps"


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
  """A sandbox that counts steps, and in which no product or power is huge.

  Attributes:
    steps: passes of loops and calls since it was set to 0.
  """

  intercepted_binops = frozenset(["*", "**"])
  steps = 0

  def step(self) -> None:
    self.steps += 1
    if self.steps > MAX_STEPS:
      raise _TooMany

  def call(self, context: Any, function: Any, /, *args: Any, **kw: Any) -> Any:
    self.step()
    return super().call(context, function, *args, **kw)

  def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
    """Refuses at once what the sandbox would let print as nothing."""
    raise jinja2.exceptions.SecurityError(
      f"it reads {attribute!r} of a {type(obj).__name__}, which is not allowed"
    )

  def call_binop(
    self, context: Any, operator: str, left: Any, right: Any
  ) -> Any:
    if operator == "**" and not (abs(left) <= 1e3 and abs(right) <= 64):
      raise _TooLong
    for one, times in ((left, right), (right, left)):
      if hasattr(one, "__len__") and len(one) * times > MAX_CHARACTERS:
        raise _TooLong
    return super().call_binop(context, operator, left, right)

  def _parse(
    self, source: str, name: str | None, filename: str | None
  ) -> nodes.Template:
    """As jinja2 does, with every loop's passes counted."""
    tree = super()._parse(source, name, filename)
    for loop in list(tree.find_all(nodes.For)):
      loop.iter = nodes.Filter(
        loop.iter, _COUNTED, [], [], None, None
      ).set_lineno(loop.lineno)
    return tree


_COUNTED = "offalign_counted"


@jinja2.pass_context
def _counted(context: jinja2.runtime.Context, items: Any) -> Iterator[Any]:
  assert isinstance(context.environment, _Sandbox)
  for item in items:
    context.environment.step()
    yield item


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

  def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict.fromkeys(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
  """`namespace`, without names that begin with an underscore."""

  def __init__(self, /, *args: Any, **kwargs: Any):
    names = dict(*args, **kwargs)
    for name in names:
      _check_name(name)
    super().__init__(names)

  def __setitem__(self, name: str, value: Any) -> None:
    _check_name(name)
    super().__setitem__(name, value)


def _check_name(name: Any) -> None:
  if isinstance(name, str) and name.startswith("_"):
    raise jinja2.exceptions.SecurityError(
      f"it sets {name!r} of a namespace, which is not allowed"
    )


def _environment() -> _Sandbox:
  environment = _Sandbox(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[_Generation, jinja2.ext.loopcontrols],
  )
  environment.filters["tojson"] = _to_json
  environment.filters[_COUNTED] = _counted
  environment.globals["raise_exception"] = _raise
  environment.globals["strftime_now"] = _now
  environment.globals["dict"] = _Dict()
  environment.globals["namespace"] = _Namespace
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
