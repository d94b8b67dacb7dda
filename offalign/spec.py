"""Spec strings: `kto(beta=0.2, threshold=batch)` and back.

A spec names something registered, a loss or a model, and those of its options
that differ from the defaults. It is what a flag holds and what a leaderboard
row is keyed by; parsing what was printed gives the same thing. A name may
have the module before it that registers it: `my_losses:huber(tau=1)`.
"""

import ast
import dataclasses
import keyword as keyword_lib
import math
import numbers
import re
import types as pytypes
import typing
import warnings
from collections.abc import Mapping
from typing import Any

from offalign.errors import UserError, option, suggest

_EXAMPLES = {
  "loss": "'dpo' or 'kto(beta=0.2, threshold=batch)'",
  "model": "'decoder' or 't5(width=128, layers=4)'",
  "judge": "\"reward_model(run='runs/rm')\"",
  "refit": "\"refit(judge='my_file.py:function', steps=50)\"",
  "sampler": "\"endpoint(url='http://localhost:8000/v1', model='NAME')\"",
}

# `a.b:c` is no expression of Python; `a\xb7b\xb7\xb7c` is a name there.
_DOT = "\xb7"
_QUALIFIED = re.compile(
  r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|"""  # leaves texts as they are
  r"(?<![\w.:])([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?=\s*(?:[(+]|$))",
  re.ASCII,
)


def parse(spec: str, what: str = "loss") -> tuple[str, dict[str, Any]]:
  """Splits a spec string into a name and keyword options.

  Args:
    spec: `name` or `name(option=value, ...)`; a value is a number, True,
      False, None, a quoted string or a bare word. The name may have a module
      before it, `package.module:name`.
    what: "loss", "model", "judge", "refit" or "sampler"; for the errors.

  Returns:
    The name, with the module where there is one, and the options, both as
    written.

  Raises:
    UserError: where the string is not of that form.
  """
  named = f"{what} spec {spec!r}"
  grammar = f"write it like {_EXAMPLES[what]}"
  try:
    node = _expression(spec)
  except (SyntaxError, ValueError):
    raise UserError(f"{named} cannot be read: {grammar}") from None
  if isinstance(node, ast.Name):
    return _name(node), {}
  if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
    raise UserError(f"{named} is not a {what}: {grammar}")
  if node.args:
    raise UserError(f"{named} has an option without a name: {grammar}")
  options: dict[str, Any] = {}
  for keyword in node.keywords:
    if keyword.arg is None:
      raise UserError(f"{named} uses '**': {grammar}")
    if keyword.arg in options:
      raise UserError(f"{named} gives {keyword.arg!r} twice")
    try:
      options[keyword.arg] = _value(keyword.value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
      raise UserError(
        f"{named}: the value of {keyword.arg!r} is not a number, a word or "
        f"True/False; {grammar}"
      ) from None
  return _name(node.func), options


def split_module(name: str) -> tuple[str, str]:
  """Splits a name of a spec into the module, "" where none, and the rest.

  >>> split_module("my_losses:huber"), split_module("dpo")
  (('my_losses', 'huber'), ('', 'dpo'))
  """
  module, _, plain = name.rpartition(":")
  return module, plain


def split_sum(spec: str) -> list[tuple[float, str]]:
  """Splits `a + 0.2*b(c=1)` into weights and specs.

  >>> split_sum("dpo(beta=0.1) + 0.2*sft")
  [(1.0, 'dpo(beta=0.1)'), (0.2, 'sft')]

  A spec that is no sum, or cannot be read, is returned whole with weight 1:
  `parse` says what is wrong with it.

  Raises:
    UserError: for a term that is neither a spec nor a number times one.
  """
  try:
    node = _expression(spec)
  except (SyntaxError, ValueError):
    return [(1.0, spec)]
  if not isinstance(node, ast.BinOp):
    return [(1.0, spec)]
  terms: list[ast.expr] = []
  while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
    terms.insert(0, node.right)
    node = node.left
  return [_term(spec, term) for term in (node, *terms)]


def _term(spec: str, node: ast.expr) -> tuple[float, str]:
  weight: Any = 1.0
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
    try:
      weight, node = _value(node.left), node.right
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
      weight = None
  number = isinstance(weight, int | float) and not isinstance(weight, bool)
  if not number or not isinstance(node, ast.Name | ast.Call):
    raise UserError(
      f"loss spec {spec!r} is not a sum of losses: write it like "
      "'dpo(beta=0.1) + 0.2*sft'"
    )
  text = ast.unparse(node)
  name = node.func if isinstance(node, ast.Call) else node
  if isinstance(name, ast.Name):
    text = _name(name) + text[len(name.id) :]
  return float(weight), text


def _expression(spec: str) -> ast.expr:
  def as_name(found: re.Match[str]) -> str:
    if found[1] is None:
      return found[0]
    return found[1].replace(":", 2 * _DOT).replace(".", _DOT)

  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # of "1if", say; it is refused anyway
      return ast.parse(_QUALIFIED.sub(as_name, spec.strip()), mode="eval").body
  except (RecursionError, MemoryError):  # too many parentheses
    raise SyntaxError("nested too deeply") from None


def _name(node: ast.Name) -> str:
  module, both, name = node.id.partition(2 * _DOT)
  return f"{module.replace(_DOT, '.')}:{name}" if both else node.id


def _value(node: ast.expr) -> Any:
  if isinstance(node, ast.Name):
    return node.id
  value = ast.literal_eval(node)
  if isinstance(value, int) and value.bit_length() > 64:
    raise ValueError("no option is as large")
  return value


def unparse(name: str, options: dict[str, Any]) -> str:
  """Prints a name and options so that `parse` gives them back."""
  if not options:
    return name
  words = ", ".join(f"{k}={_word(v)}" for k, v in options.items())
  return f"{name}({words})"


def _word(value: Any) -> str:
  if isinstance(value, str) and is_word(value):
    return value
  return repr(value)


def is_word(text: str) -> bool:
  """Whether text stands for itself in a spec, without quotes.

  >>> is_word("batch"), is_word("None"), is_word("two words")
  (True, False, False)
  """
  # Beyond ASCII the parser would normalise it to another string.
  named = text.isascii() and text.isidentifier()
  return named and not keyword_lib.iskeyword(text)


def choose(
  owner: str,
  defaults: Mapping[str, Any],
  types: Mapping[str, Any],
  options: Mapping[str, Any],
) -> dict[str, Any]:
  """Lays options over their defaults.

  Args:
    owner: whose options they are, e.g. "loss 'kto'"; for the errors.
    defaults: name -> default, for every option there is.
    types: name -> annotation: bool, int, float, str, a Literal of strings, or
      a union of those and None. Whole numbers become floats for float.
    options: name -> value, as given.

  Raises:
    UserError: for an unknown option or a wrong type.
  """
  chosen = dict(defaults)
  for name, value in options.items():
    if name not in chosen:
      valid = ", ".join(chosen) or "none"
      raise UserError(
        f"{owner} has no option {name!r}{suggest(name, chosen)} (its options: "
        f"{valid})"
      )
    chosen[name] = _typed(f"{owner}: {name}", value, types[name])
  return chosen


def check_fields(group: str, config: Any) -> None:
  """Checks every field of a dataclass of options against its annotation.

  Args:
    group: of the options that the fields are; "" = of none.
    config: an instance; its annotations are those that `choose` takes, or
      classes.

  Raises:
    UserError: for a wrong type, or a word that is none of a Literal's.
  """
  hints = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    name = f"{group}.{field.name}" if group else field.name
    _typed(option(name), value, hints[field.name])


def alternatives(hint: Any) -> tuple[Any, ...]:
  """The members of a union, or the annotation itself.

  >>> alternatives(int | None)
  (<class 'int'>, <class 'NoneType'>)
  """
  # `Literal[...] | None` is a typing.Union, `int | None` a types.UnionType.
  if typing.get_origin(hint) in (pytypes.UnionType, typing.Union):
    return typing.get_args(hint)
  return (hint,)


def _typed(what: str, value: Any, hint: Any) -> Any:
  """Checks one option against its annotation; ints become floats."""
  accepted = alternatives(hint)
  for kind in accepted:
    if typing.get_origin(kind) is typing.Literal:
      if value in typing.get_args(kind) and isinstance(value, str):
        return value
    elif kind in (float, int) and not isinstance(value, bool):
      if kind is float and isinstance(value, numbers.Real):
        return _finite(what, value)
      if kind is int and isinstance(value, numbers.Integral):
        return int(value)
    elif kind is not int and isinstance(value, kind):
      return value
  expected = " or ".join(_describe(kind) for kind in accepted)
  raise UserError(f"{what} must be {expected}, not {value!r}")


def _finite(what: str, value: Any) -> float:
  try:
    number = float(value)
  except OverflowError:
    number = math.inf
  if not math.isfinite(number):
    raise UserError(f"{what} must be finite")
  return number


def _describe(kind: Any) -> str:
  if typing.get_origin(kind) is typing.Literal:
    return "one of " + ", ".join(typing.get_args(kind))
  names = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    pytypes.NoneType: "None",
  }
  return names.get(kind, getattr(kind, "__name__", str(kind)))
