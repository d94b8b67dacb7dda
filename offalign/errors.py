"""The exception that a user's mistake raises, and how it names options.

A message is a sentence or a few: what is wrong, where (file, row, column,
option), and what to do. Command-line entry points print the message alone and
exit with 2; anything else that escapes is a defect of ours and keeps its
traceback.

The library knows options, not flags. A message writes `option("init_step")`
where it names one, in the middle of an f-string too:

>>> error = UserError(f"{option('init_step', 5)} is set without "
...                   f"{option('init')}")
>>> str(error)
'init_step=5 is set without init'

A program says how each of its options is given, and prints the same sentence
in flags:

>>> render(error, lambda name: f"--cfg.{name}")
'--cfg.init_step=5 is set without --cfg.init'

A layer that calls another puts its own names on what the other says:

>>> try:
...   with concerning(option("batch_size", 7)), within("data"):
...     raise UserError(f"{option('pairs')} is set; leave it out")
... except UserError as error:
...   print(error)
batch_size=7: data.pairs is set; leave it out

`option` returns text with a private mark around the name. Marks live in the
arguments of `UserError`, `Sentence`, `render`, `spoken` and `concerning` alone:
`str`, `repr` and `args` of an error, and the text of a `Sentence`, have none.
"""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Unicode keeps these two for the inside of a program, so no text has them.
_START, _END = "\ufdd0", "\ufdd1"
_OFF = "-"  # before a name: the option is switched off
_MARK = re.compile(f"{_START}({_OFF}?)([^{_START}{_END}]*){_END}")
_UNSET = object()
_CONTROL = re.compile(
  r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

LONGEST = 4_000
"""Characters of a message; of a longer one, the middle is left out."""

Flag = Callable[[str], str]
"""The name of an option, with dots -> the flag that sets it."""

OPTIONS = _START + _END
"""The word "options" in a message; a program says "flags"."""


def option(name: str, value: Any = _UNSET) -> str:
  """The name of an option, to be put into a message.

  >>> render(f"{option('normalize_rewards', False)} and {option('steps', 3)}")
  'normalize_rewards=False and steps=3'

  Args:
    name: as the layer that speaks knows it, with dots for groups; "value.*"
      are all of a group.
    value: what it is set to, to be said too. An option that is False is, as
      a flag, --noNAME.
  """
  if value is False:
    return f"{_START}{_OFF}{name}{_END}"
  mark = f"{_START}{name}{_END}"
  return mark if value is _UNSET else f"{mark}={value}"


class Sentence(str):
  """A sentence that names options, where it is no error.

  Its text names them plainly; `spoken` and `render` can name the flags.

  Attributes:
    marked: the text with the marks of `option`, to be put into another
      sentence.
  """

  marked: str

  def __new__(cls, text: str) -> "Sentence":
    """Takes text with the marks of `option`."""
    made = super().__new__(cls, render(text))
    made.marked = marked(text)
    return made


class UserError(ValueError):
  """A mistake in what the user asked for or supplied.

  Attributes:
    marked: the message with the marks of `option`, to be put into another
      message.
    option: the option that is to be changed, with dots: the one given, or the
      first that the message names; None where it names none.
  """

  def __init__(self, message: str = "", option: str | None = None):
    """Takes the message.

    Args:
      message: with the marks of `option`.
      option: the name of the one to be changed. Where the message does not
        name it, it is put before.
    """
    if option is not None and option not in _named(message):
      message = f"{_START}{option}{_END}: {marked(message)}"
    self._say(message, option)

  def _say(self, message: str, option: str | None) -> None:
    self.marked: str = _cut(marked(message))
    self.option: str | None = option or next(iter(_named(message)), None)
    self.args = (render(self.marked),)


def _cut(text: str) -> str:
  """The beginning and the end of a message that quotes something long."""
  if len(text) <= LONGEST:
    return text
  head, tail = text[: 3 * LONGEST // 4], text[-LONGEST // 4 + 10 :]
  if head.rfind(_START) > head.rfind(_END):
    head = head[: head.rfind(_START)]
  if tail.find(_END) >= 0 and not 0 <= tail.find(_START) < tail.find(_END):
    tail = tail[tail.find(_END) + 1 :]
  return f"{head} ... {tail}"


def marked(text: str | UserError) -> str:
  """A text with the marks of `option`, to be put into another."""
  if isinstance(text, UserError | Sentence):
    return text.marked
  return text


def render(text: str | UserError, flag: Flag | None = None) -> str:
  """A text without marks.

  Args:
    text: a message, an error or a sentence.
    flag: names the flag of an option; None = options are named as they are.
  """

  def replaced(match: re.Match[str]) -> str:
    off, name = match.groups()
    if not name:
      return "flags" if flag else "options"
    if flag is None:
      return f"{name}=False" if off else name
    return f"--no{flag(name).removeprefix('--')}" if off else flag(name)

  return _MARK.sub(replaced, marked(text))


def qualify(text: str | UserError, group: str = "", **renamed: str) -> str:
  """A text whose options are named as a higher layer knows them; marked.

  Args:
    text: a message, an error or a sentence of the lower layer.
    group: the options are in this group of the higher layer; "" = in none.
    renamed: option of the lower layer = its name here, whatever the group.
  """

  def replaced(match: re.Match[str]) -> str:
    off, name = match.groups()
    if not name:
      return match[0]
    known = f"{group}.{name}" if group else name
    return f"{_START}{off}{renamed.get(name, known)}{_END}"

  return _MARK.sub(replaced, marked(text))


@contextlib.contextmanager
def within(group: str = "", **renamed: str) -> Iterator[None]:
  """Names the options of a lower layer as this layer knows them.

  To be put around calls of that layer alone: what they call back must not
  speak of the options of this layer.

  >>> try:
  ...   with within("data"):
  ...     raise UserError(f"{option('pairs')} is set; leave it out")
  ... except UserError as error:
  ...   print(error, "|", error.option)
  data.pairs is set; leave it out | data.pairs

  Args:
    group: see `qualify`.
    renamed: see `qualify`.
  """
  try:
    yield
  except UserError as error:
    main = error.option
    if main is not None:
      main = render(qualify(option(main), group, **renamed))
    error._say(qualify(error, group, **renamed), main)
    raise


@contextlib.contextmanager
def concerning(what: str) -> Iterator[None]:
  """Puts "what: " before the message of a `UserError` that passes through.

  Args:
    what: mostly an option, with its value where that is short.
  """
  try:
    yield
  except UserError as error:
    main = None if _named(what) else error.option
    error._say(f"{marked(what)}: {error.marked}", main)
    raise


_flag: Flag | None = None  # of the program that this process runs


@contextlib.contextmanager
def speaking(flag: Flag) -> Iterator[None]:
  """Has what this process prints name flags; for programs.

  Args:
    flag: names the flag of an option.
  """
  global _flag
  before, _flag = _flag, flag
  try:
    yield
  finally:
    _flag = before


def spoken(text: str | UserError) -> str:
  """A text to be printed: in flags within `speaking`, else in options."""
  return printable(render(text, _flag))


def printable(text: str) -> str:
  """Shows control characters as escapes, so that no terminal obeys them.

  So are halves of surrogate pairs, which no terminal takes.

  >>> printable("a column \\x1b[2J of two\\nlines")
  'a column \\\\x1b[2J of two\\nlines'

  Args:
    text: perhaps with names or words from a file, or from another machine.

  Returns:
    The text; line breaks and tabs stay.
  """
  return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _named(text: str) -> list[str]:
  """The options that a text names, in order."""
  return [match[2] for match in _MARK.finditer(marked(text)) if match[2]]


def suggest(name: str, valid: Iterable[str]) -> str:
  """Returns "; did you mean 'x'?" for the nearest valid name, or ""."""
  close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
  return f"; did you mean {close[0]!r}?" if close else ""
