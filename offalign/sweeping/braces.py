"""Braces in the value of an option: `dro_v(tau={0.3,1})` stands for two."""

import itertools
from collections.abc import Sequence
from typing import Any

from offalign.errors import UserError

Piece = str | tuple[Any, ...]
"""Text that stays, or the values that stand in its place one after another."""

_LITERAL = "; a brace that is meant as it stands is written twice: {{ or }}"


def split(text: str) -> list[Piece]:
  """Cuts text into what stays and the alternatives of its braces.

  >>> split("dro_v(tau={0.3,1})")
  ['dro_v(tau=', ('0.3', '1'), ')']

  Braces within an alternative are expanded there, and `{{` and `}}` outside of
  braces stand for a brace.

  Args:
    text: the value of an option.

  Raises:
    UserError: for a brace without its other half, or a value that is empty or
      comes twice.
  """
  pieces: list[Piece] = []
  plain, place = "", 0
  while place < len(text):
    char = text[place]
    if text[place : place + 2] in ("{{", "}}"):
      plain, place = plain + char, place + 2
    elif char == "{":
      end = _end(text, place)
      if plain:
        pieces.append(plain)
      pieces.append(_values(text[place + 1 : end], text))
      plain, place = "", end + 1
    elif char == "}":
      raise UserError(f"{text!r} closes a brace that is not open{_LITERAL}")
    else:
      plain, place = plain + char, place + 1
  if plain or not pieces:
    pieces.append(plain)
  return pieces


def expand(text: str) -> list[str]:
  """All that a text stands for, the last brace changing fastest.

  >>> expand("{kto,dro_v(tau={0.3,1})}")
  ['kto', 'dro_v(tau=0.3)', 'dro_v(tau=1)']

  Raises:
    UserError: see `split`.
  """
  return ["".join(choice) for choice in itertools.product(*_choices(text))]


def _choices(text: str) -> list[Sequence[str]]:
  return [(p,) if isinstance(p, str) else p for p in split(text)]


def _end(text: str, start: int) -> int:
  """Where the brace that is opened at `start` is closed."""
  depth = 0
  for place in range(start, len(text)):
    depth += {"{": 1, "}": -1}.get(text[place], 0)
    if not depth:
      return place
  raise UserError(f"{text!r} opens a brace that it does not close{_LITERAL}")


def _values(inside: str, text: str) -> tuple[str, ...]:
  """The alternatives between two braces; commas in brackets part none."""
  parts, depth = [""], 0
  for char in inside:
    depth += (char in "([{") - (char in ")]}")
    if char == "," and depth == 0:
      parts.append("")
    else:
      parts[-1] += char
  values = [x for part in parts for x in expand(part.strip())]
  if "" in values:
    raise UserError(f"{text!r} has an empty value in its braces; leave it out")
  twice = next((x for x in values if values.count(x) > 1), None)
  if twice is not None:
    raise UserError(f"{text!r} has {twice} twice in its braces; give it once")
  return tuple(values)
