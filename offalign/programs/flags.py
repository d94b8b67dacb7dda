"""Typed dataclasses as absl flags: --cfg.data.path=..., help from docstrings.

Every field becomes a flag of its own, so absl parses and checks it, lists it
in --help and proposes the nearest name for a typo. `start` starts every
program alike.
"""

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags

from offalign.distributed import interrupts
from offalign.errors import UserError, spoken

T = TypeVar("T")


def define(
  cls: type, prefix: str = "cfg", values: flags.FlagValues = flags.FLAGS
) -> None:
  """Defines a flag for every field of a config dataclass.

  A field may be str, int, float, bool, a Literal of strings, any of these
  or None, or another config dataclass (then its fields follow after a dot).

  Args:
    cls: the dataclass; its docstring's "Attributes" are the help texts.
    prefix: what the flags' names begin with, before a dot; "" = nothing.
    values: where to define them.
  """
  helps = attribute_docs(cls)
  hints = typing.get_type_hints(cls)
  for field in dataclasses.fields(cls):
    name = _join(prefix, field.name)
    hint, _ = _strip_none(hints[field.name])
    if dataclasses.is_dataclass(hint):
      define(typing.cast(type, hint), name, values)
      continue
    _define_one(name, hint, _default(field), helps.get(field.name, ""), values)


def of_config(option: str) -> str:
  """The flag that sets an option of a training run.

  >>> of_config("data.pairs")
  '--cfg.data.pairs'
  """
  return f"--cfg.{option}"


def of_program(option: str) -> str:
  """The flag that sets an option: this program's own, or a training run's.

  >>> of_program("keep_best")
  '--cfg.keep_best'
  """
  return f"--{option}" if option in flags.FLAGS else of_config(option)


def say(text: str) -> None:
  """Prints what a program has to say; see `offalign.errors.spoken`."""
  print(spoken(text))


def complain(program: str, sentence: str | UserError) -> None:
  """Prints what a user is to mend.

  Args:
    program: the program's name, e.g. "offalign.export".
    sentence: the mistake.
  """
  print(f"{program}: {spoken(sentence)}", file=sys.stderr)


def read(
  cls: type[T], prefix: str = "cfg", values: flags.FlagValues = flags.FLAGS
) -> T:
  """Builds the dataclass from the flags that `define` made.

  A nested config that may be None is None unless one of its flags was given.
  """
  hints = typing.get_type_hints(cls)
  given: dict[str, Any] = {}
  for field in dataclasses.fields(typing.cast(Any, cls)):
    name = _join(prefix, field.name)
    hint, optional = _strip_none(hints[field.name])
    if not dataclasses.is_dataclass(hint):
      if values[name].present:
        given[field.name] = values[name].value
    elif not optional or _any_present(name, values):
      given[field.name] = read(typing.cast(type, hint), name, values)
  return cls(**given)


def _join(prefix: str, name: str) -> str:
  return f"{prefix}.{name}" if prefix else name


def start(
  name: str,
  main: Callable[[Sequence[str]], int],
  doc: str | None,
  define_flags: Callable[[], None],
  expand: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> None:
  """Starts a program, and leaves Python with its exit status.

  --help shows the program's own text and flags, with status 0, however it is
  started: `python -m offalign NAME`, `python -m offalign.NAME`, `offalign
  NAME` or `offalign-NAME`. A flag that cannot be is one sentence, and the
  status 2.

  Args:
    name: the program's.
    main: takes the program's name and the words that are no flags; returns
      the exit status.
    doc: what --help shows above the flags.
    define_flags: defines the flags.
    expand: rewrites the arguments before they are parsed; may raise
      `UserError`.
  """
  program = f"offalign.{name}"
  # absl's --help shows the text of __main__, and the flags of sys.argv[0].
  sys.argv = [program, *sys.argv[1:]]
  sys.modules["__main__"].__doc__ = doc
  others = set(flags.FLAGS)
  define_flags()
  for flag in set(flags.FLAGS) - others:
    flags.FLAGS.register_key_flag_for_module(program, flags.FLAGS[flag])

  def complaining(sentence: str) -> None:
    complain(program, sentence)

  def ending(argv: Sequence[str]) -> int:
    status = main(argv)
    interrupts.leave(status)
    return status

  app.run(ending, flags_parser=lambda argv: parse(argv, complaining, expand))


def define_step() -> None:
  """Defines --step, the checkpoint of a run."""
  flags.DEFINE_string(
    "step",
    "newest",
    "of the checkpoint: newest, best (see --cfg.keep_best) or a number",
  )


def define_policy() -> None:
  """Defines the flags of a program that opens one policy."""
  flags.DEFINE_string(
    "run", None, "the run folder; or a Hugging Face model folder or name"
  )
  define_step()
  flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "tokens at most; default: as many as the longest completion of the run's "
    "training",
    lower_bound=1,
  )
  define_imports()


def define_drawing(temperature: float = 1.0) -> None:
  """Defines the flags of how tokens are drawn.

  Args:
    temperature: the default.
  """
  flags.DEFINE_float(
    "temperature", temperature, "0 takes the likeliest tokens", lower_bound=0.0
  )
  flags.DEFINE_integer(
    "top_k", None, "draw from so many of the likeliest tokens", lower_bound=1
  )
  flags.DEFINE_float(
    "top_p", None, "draw from the likeliest tokens with this share of the odds"
  )
  flags.DEFINE_integer("seed", 0, "of the samples")


def define_imports() -> None:
  """Defines --imports of a program that opens run folders."""
  flags.DEFINE_string(
    "imports",
    None,
    "modules of yours to import, with commas: those that register the loss or "
    "the model of a run",
  )


def parse(
  argv: Sequence[str],
  complain: Callable[[str], None],
  expand: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> list[str]:
  """Parses the flags; a mistake is one sentence, and --help a success.

  Args:
    argv: the program and its arguments.
    complain: prints the sentence; the status is then 2.
    expand: as in `start`.

  Returns:
    The program and what is no flag.
  """
  try:
    return flags.FLAGS(argv if expand is None else expand(argv))
  except UserError as error:
    complain(str(error))
    sys.exit(2)
  except flags.Error as error:
    sentence = str(error).replace(" ?", "?").rstrip(".")
    stop = "" if sentence.endswith("?") else "."
    complain(f"{sentence}{stop} --help lists the flags.")
    sys.exit(2)
  except SystemExit:  # absl has printed the help and leaves with 1
    sys.exit(0)


def require(argv: Sequence[str], names: Sequence[str], usage: str) -> None:
  """Checks the flags that a program cannot do without.

  Args:
    argv: the program and what is no flag.
    names: of the flags.
    usage: how they are given, for the sentence.

  Raises:
    UserError: for a word that is no flag, or a flag that is missing.
  """
  if len(argv) > 1:
    raise UserError(f"what is {argv[1]!r}? Give {usage}")
  for name in names:
    if not flags.FLAGS[name].value:
      raise UserError(f"--{name} is missing: give {usage}")


def attribute_docs(cls: type) -> dict[str, str]:
  """Field -> text of the "Attributes:" sections of a class and its bases."""
  docs: dict[str, str] = {}
  for each in reversed(cls.__mro__):
    doc = inspect.cleandoc(each.__doc__ or "")
    section = doc.partition("Attributes:\n")[2].split("\n\n")[0]
    name = ""
    for line in section.splitlines():
      start = re.match(r"  (\w+): (.*)", line)
      if start:
        name, docs[start[1]] = start[1], start[2]
      elif name:
        docs[name] += " " + line.strip()
  return docs


def _default(field: "dataclasses.Field[Any]") -> Any:
  if field.default is not dataclasses.MISSING:
    return field.default
  return None


def _strip_none(hint: Any) -> tuple[Any, bool]:
  # `Literal[...] | None` is a typing.Union, `int | None` a types.UnionType.
  if typing.get_origin(hint) in (types.UnionType, typing.Union):
    kinds = [k for k in typing.get_args(hint) if k is not type(None)]
    return kinds[0], len(kinds) < len(typing.get_args(hint))
  return hint, False


def _any_present(prefix: str, values: flags.FlagValues) -> bool:
  return any(
    values[name].present for name in values if name.startswith(prefix + ".")
  )


def _define_one(
  name: str, hint: Any, default: Any, text: str, values: flags.FlagValues
) -> None:
  kinds: dict[type, Any] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
  }
  if typing.get_origin(hint) is typing.Literal:
    choices = list(typing.get_args(hint))
    flags.DEFINE_enum(name, default, choices, text, flag_values=values)
  else:
    kinds[hint](name, default, text, flag_values=values)
