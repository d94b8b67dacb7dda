"""A jinja2 sandbox in which a template's work is bounded.

A template comes with a checkpoint, is code, and is not trusted. For each
conversation there is a limit to its steps (passes of loops and calls), its
characters (the lengths of all values that its operators, filters and methods
take or make, added up, and looked at before they are made) and its seconds.

Above 300 lines, since the bounds hold only together: what one lets through,
another must count.
"""

import datetime
import functools
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.utils
from jinja2 import nodes, parser, sandbox

MAX_CHARACTERS = 10_000_000
"""The longest text that a template may write."""

MAX_STEPS = 1_000_000
"""Most passes of loops and calls, together, for one conversation."""

MAX_WORK = 200_000_000
"""Most characters that are handled for one conversation."""

MAX_SECONDS = 10.0
"""Longest time for one conversation."""


class TooLong(Exception):
  """A template writes more than `MAX_CHARACTERS`."""

  def __str__(self) -> str:
    return f"it writes more than {MAX_CHARACTERS:,} characters"


class _TooMany(Exception):
  def __str__(self) -> str:
    return f"it takes more than {MAX_STEPS:,} steps"


class _TooMuch(Exception):
  def __str__(self) -> str:
    return f"it handles more than {MAX_WORK:,} characters"


class _TooSlow(Exception):
  def __str__(self) -> str:
    return f"it takes more than {MAX_SECONDS:g} seconds"


class Sandbox(sandbox.ImmutableSandboxedEnvironment):
  """A sandbox that counts what a template does; see the module."""

  intercepted_binops = frozenset(["*", "**", "+", "%"])
  _steps, _work, _until = 0, 0, math.inf

  def begin(self) -> None:
    """Counts from 0 again."""
    self._steps, self._work = 0, 0
    self._until = time.monotonic() + MAX_SECONDS

  def step(self) -> None:
    """Counts a pass of a loop, or a call."""
    self._steps += 1
    if self._steps > MAX_STEPS:
      raise _TooMany
    if time.monotonic() > self._until:
      raise _TooSlow

  def handle(self, *values: Any, times: int = 1) -> None:
    """Counts the characters of values, before something is done with them."""
    self.grow(times * sum(map(_size, values)))

  def grow(self, size: int) -> None:
    """Counts characters that are about to be handled or made."""
    self._work += size
    if self._work > MAX_WORK:
      raise _TooMuch

  def begin_operation(self, name: str, values: Sequence[Any]) -> None:
    """Counts what a method or a filter takes, and what it may make of it.

    Args:
      name: of the method or the filter.
      values: what it is of, and its arguments.
    """
    self.handle(*values)
    if name in _PADDING:
      _check_widths(values[1:])
    if name in ("format", "format_map"):
      _check_format(next((v for v in values if isinstance(v, str)), ""))
    self.grow(_growth(name, values))

  def call(self, context: Any, function: Any, /, *args: Any, **kw: Any) -> Any:
    """Counts a call, and what the methods of texts and lists handle."""
    self.step()
    for value in (*args, *kw.values()):
      _compared(value)
    of = getattr(function, "__self__", None)
    if isinstance(of, str | list | tuple | dict):
      self.begin_operation(function.__name__, (of, *args, *kw.values()))
    return super().call(context, function, *args, **kw)

  def wrap_str_format(self, value: Any) -> Any:
    """Looks at the format of `"...".format`, and what it is to hold."""
    wrapped = super().wrap_str_format(value)
    if wrapped is None:
      return None
    name, form = value.__name__, value.__self__

    def counted(*args: Any, **kw: Any) -> Any:
      self.begin_operation(name, (form, *args, *kw.values()))
      return wrapped(*args, **kw)

    return counted

  def getitem(self, obj: Any, argument: Any) -> Any:
    """Counts what a slice copies."""
    if isinstance(argument, slice):
      self.handle(obj)
    _compared(argument)  # a key is hashed, with all that it holds
    return super().getitem(obj, argument)

  def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
    """Refuses at once what the sandbox would let print as nothing."""
    raise jinja2.exceptions.SecurityError(
      f"it reads {attribute!r} of a {type(obj).__name__}, which is not allowed"
    )

  def call_binop(
    self, context: Any, operator: str, left: Any, right: Any
  ) -> Any:
    """Counts what an operator takes and makes."""
    if operator == "**" and not (abs(left) <= 1e3 and abs(right) <= 64):
      raise TooLong
    if operator == "*":
      for one, times in ((left, right), (right, left)):
        if hasattr(one, "__len__") and isinstance(times, int):
          self.handle(one, times=max(times, 0))
      if isinstance(left, int) and isinstance(right, int):
        _check_digits(left, right)
    if operator == "%" and isinstance(left, str):
      _check_format(left)
      self.grow(_growth("format", (left, right)))
    self.handle(left, right)
    return super().call_binop(context, operator, left, right)

  def _parse(
    self, source: str, name: str | None, filename: str | None
  ) -> nodes.Template:
    """As jinja2 does, with every loop's passes counted."""
    tree = super()._parse(source, name, filename)
    for loop in list(tree.find_all(nodes.For)):
      loop.iter = _through(_COUNTED, loop.iter)
    for joined in list(tree.find_all(nodes.Concat)):
      joined.nodes = [_through(_HANDLED, part) for part in joined.nodes]
    for compared in list(tree.find_all(nodes.Compare)):
      compared.expr = _through(_COMPARED, compared.expr)
      for operand in compared.ops:
        operand.expr = _through(_COMPARED, operand.expr)
    for pair in list(tree.find_all(nodes.Pair)):
      pair.key = _through(_COMPARED, pair.key)
    return tree


def _through(name: str, part: Any) -> Any:
  """A part of a template, put through a filter of ours."""
  made = nodes.Filter(part, name, [], [], None, None)
  return made.set_lineno(part.lineno)


_COUNTED, _HANDLED = "offalign_counted", "offalign_handled"
_COMPARED = "offalign_compared"
_PADDING = (
  "batch",
  "center",
  "expandtabs",
  "indent",
  "ljust",
  "rjust",
  "round",
  "slice",
  "tojson",
  "truncate",
  "wordwrap",
  "zfill",
)
"""Methods and filters with an argument that says how wide or how many."""

_WIDEST = 10_000
_MOST_BITS = 100_000  # of a whole number
_WIDE_FORMAT = re.compile(
  r"%(\([^()]*\))?[-+ #0]*(\d{5}|\*|\d*\.(\d{5}|\*))"  # %99999d, %*d, %.99999f
  r"|%\([^()]*\("  # a key with brackets
  r"|\{[^{}]*:[^{}]*(\d{5}|\{)"  # {:99999}, {:{}}
)
"""A width of five digits, or one that is an argument."""


def _size(value: Any, most: int = MAX_STEPS) -> int:
  """The characters of a value's text, and one for each item it holds."""
  size, waiting = 0, [value]
  while waiting:
    one = waiting.pop()
    size += 1
    if isinstance(one, str):
      size += len(one) if one.isascii() else 2 * len(one)  # or 4 bytes each
    elif isinstance(one, bytes):
      size += len(one)
    elif isinstance(one, dict):
      waiting += [*one.keys(), *one.values()]
    elif isinstance(one, list | tuple | set):
      waiting += one
    most -= 1
    if most < 0:
      raise _TooMany
  return size


def _check_widths(values: Sequence[Any]) -> None:
  """Refuses to pad to more than `_WIDEST` characters."""
  for value in values:
    if isinstance(value, int | float) and abs(value) > _WIDEST:
      raise TooLong


def _check_digits(*factors: int) -> None:
  """Refuses a product of tens of thousands of digits."""
  if sum(factor.bit_length() for factor in factors) > _MOST_BITS:
    raise TooLong


def _check_format(form: str) -> None:
  """Refuses a format such as "%99999d", "%*d", "{:99999}" or "{:{}}"."""
  if _WIDE_FORMAT.search(form):
    raise TooLong


def _growth(name: str, values: Sequence[Any]) -> int:
  """The most characters that a method or a filter adds to what it takes."""
  texts = [value for value in values if isinstance(value, str)]
  numbers = [value for value in values if isinstance(value, int)]
  if name == "replace" and len(texts) >= 3:
    whole, old, new, *_ = texts
    return whole.count(old) * len(new)
  if name in ("format", "format_map") and values:
    # A value may be named as often as there are places.
    places = max(str(values[0]).count("{"), str(values[0]).count("%"))
    held = [x for v in values[1:] for x in _members(v)]
    return places * max(map(_size, held), default=0)
  if name == "title":
    return 20 * sum(map(_size, values))  # a list of its words
  if name == "join":
    return sum(map(_size, values)) * max(map(len, texts), default=0)
  if name == "translate":
    return len(texts[0]) * max(map(_size, values[1:]), default=0)
  if name in ("expandtabs", "indent"):
    lines = sum(text.count("\n") + text.count("\t") for text in texts)
    return (lines + 1) * max((*numbers, *map(len, texts[1:]), 8))
  if name == "tojson" and len(values) > 1:
    return 1000 * sum(map(_size, values))  # nested lines are indented
  if name == "wordwrap":
    return 100 * sum(map(_size, values))  # slow
  return 0


def _members(value: Any) -> Sequence[Any]:
  if isinstance(value, dict):
    return list(value.values())
  return value if isinstance(value, tuple) else [value]


def _compared(value: Any) -> Any:
  """Refuses what holds itself so often that to compare it has no end."""
  if isinstance(value, list | tuple | dict):
    _size(value)
  return value


@jinja2.pass_context
def _counted(context: jinja2.runtime.Context, items: Any) -> Iterator[Any]:
  assert isinstance(context.environment, Sandbox)
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


def environment() -> Sandbox:
  """Makes a sandbox with what chat templates expect to find in it."""
  made = Sandbox(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[_Generation, jinja2.ext.loopcontrols],
  )
  made.globals.pop("lipsum", None)  # writes as much as it is asked to
  made.filters["tojson"] = _to_json
  for name, function in list(made.filters.items()):
    made.filters[name] = _bounded(made, name, function)
  for name, function in list(made.tests.items()):
    made.tests[name] = _bounded_test(function)
  made.filters[_COUNTED] = _counted
  made.filters[_COMPARED] = _compared
  made.filters[_HANDLED] = _bounded(made, _HANDLED, _same)
  made.finalize = _bounded(made, "finalize", _same)
  made.globals["raise_exception"] = _raise
  made.globals["strftime_now"] = _now
  made.globals["dict"] = _Dict()
  made.globals["namespace"] = _Namespace
  return made


def _bounded(environment: Sandbox, name: str, function: Any) -> Any:
  """A filter that counts what it takes before it does its work."""

  @functools.wraps(function)
  def bounded(*args: Any, **kw: Any) -> Any:
    environment.begin_operation(name, (*args, *kw.values()))
    return function(*args, **kw)

  return bounded


def _bounded_test(function: Any) -> Any:
  """A test, such as `is eq`, that looks at what it compares."""

  @functools.wraps(function)
  def bounded(*args: Any, **kw: Any) -> Any:
    for value in args:
      _compared(value)
    return function(*args, **kw)

  return bounded


def _same(value: Any) -> Any:
  return value


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
