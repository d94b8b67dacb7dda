"""Spec strings: `kto(beta=0.2, threshold=batch)` and back.

A spec names a registered loss and those of its options that differ from the
defaults. It is what a flag holds, what a leaderboard row is keyed by, and
what `str(loss)` prints; parsing what was printed gives the same loss.
"""

import ast
import keyword as keyword_lib
from typing import Any

from offalign.errors import UserError

_GRAMMAR = "write it like 'dpo' or 'kto(beta=0.2, threshold=batch)'"


def parse(spec: str) -> tuple[str, dict[str, Any]]:
  """Splits a spec string into a name and keyword options.

  Args:
    spec: `name` or `name(option=value, ...)`; a value is a number, True,
      False, None, a quoted string or a bare word.

  Returns:
    The name and the options as written.

  Raises:
    UserError: where the string is not of that form.
  """
  try:
    node = ast.parse(spec.strip(), mode="eval").body
  except (SyntaxError, ValueError):
    raise UserError(f"loss spec {spec!r} cannot be read: {_GRAMMAR}") from None
  if isinstance(node, ast.Name):
    return node.id, {}
  if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
    raise UserError(f"loss spec {spec!r} is not a loss: {_GRAMMAR}")
  if node.args:
    raise UserError(
      f"loss spec {spec!r} has an option without a name: {_GRAMMAR}"
    )
  options: dict[str, Any] = {}
  for keyword in node.keywords:
    if keyword.arg is None:
      raise UserError(f"loss spec {spec!r} uses '**': {_GRAMMAR}")
    if keyword.arg in options:
      raise UserError(f"loss spec {spec!r} gives {keyword.arg!r} twice")
    options[keyword.arg] = _value(keyword.value, spec, keyword.arg)
  return node.func.id, options


def _value(node: ast.expr, spec: str, option: str) -> Any:
  if isinstance(node, ast.Name):
    return node.id
  try:
    return ast.literal_eval(node)
  except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
    raise UserError(
      f"loss spec {spec!r}: the value of {option!r} is not a number, a word "
      f"or True/False; {_GRAMMAR}"
    ) from None


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
