"""Variables of chat templates: "enable_thinking=false" -> part of a template.

They are set in front of the template where nothing else has set them, so that
`transformers` and whoever else renders it does the same.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jinja2.meta
from jinja2 import nodes

from offalign.data.text import sandbox
from offalign.errors import UserError, option, suggest

_NAME = re.compile(r"\s*([^\W\d]\w*)\s*=\s*")
_WORDS = {"True": True, "False": False, "None": None}
_ASKS = ("defined", "undefined", "default", "d")  # tests and filters
_GIVEN = ("messages", "tools", "documents", "add_generation_prompt")


def parse(text: str) -> dict[str, Any]:
  """Names -> values.

  >>> parse('enable_thinking=false, effort=high, tags=["a, b"]')
  {'enable_thinking': False, 'effort': 'high', 'tags': ['a, b']}

  Args:
    text: name=value, separated by commas; a value is JSON, or a word, which
      is text.

  Raises:
    UserError: for what is not of this form.
  """
  found: dict[str, Any] = {}
  at = 0
  while at < len(text) or not found:
    name = _NAME.match(text, at)
    if name is None or name[1] in found:
      what = "is given twice" if name else f"cannot be read at {text[at:]!r}"
      raise UserError(
        f"{option('template_vars', text)}: {name[1] if name else 'it'} "
        f"{what}; write name=value, separated by commas, such as "
        "enable_thinking=false"
      )
    found[name[1]], at = _value(text, name.end())
  return found


def _value(text: str, start: int) -> tuple[Any, int]:
  """A value, and where the next name begins."""
  try:
    value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(
      text, start
    )
    rest = text[end:].lstrip()
    if not rest or rest[0] == ",":
      return value, len(text) - len(rest) + 1
  except (ValueError, RecursionError):
    pass
  word = text[start:].partition(",")[0]
  end = start + len(word) + 1
  word = word.strip()
  if not word or word[0] in "\"'[{":
    raise UserError(
      f"{option('template_vars', text)}: {word!r} is no value; write true, "
      "false, null, a number, a word, or JSON in double quotes"
    )
  return _WORDS.get(word, word), end


def _refuse(word: str) -> Any:
  raise ValueError(word)


def check(templates: Iterable[str], values: dict[str, Any]) -> None:
  """Refuses what none of the templates reads.

  Raises:
    UserError: naming the variable.
  """
  known = sorted({name for each in templates for name in names(each)})
  for name in values:
    if name not in known:
      has = f"it has {', '.join(known)}" if known else "it has none"
      raise UserError(
        f"{option('template_vars')}: the tokenizer's chat template has no "
        f"variable {name!r}{suggest(name, known)} ({has}); leave it out"
      )


def fix(template: str, values: dict[str, Any]) -> str:
  """A template that has these values where it is given no others."""
  sets = "".join(
    f"{{% set {name} = {name} if {name} is defined else {_literal(value)} %}}"
    for name, value in values.items()
  )
  return f"{sets}\n{template}" if sets else template  # the line's end is cut


def names(template: str) -> list[str]:
  """The variables that a template reads and leaves to others, sorted."""
  environment = sandbox.environment()
  try:
    tree = environment.parse(template)
    found = jinja2.meta.find_undeclared_variables(tree)
  except Exception:  # a template that is not valid is refused elsewhere
    return []
  found -= {n.name for n in tree.find_all(nodes.Name) if n.ctx == "store"}
  found |= set(_with_defaults(tree))
  return sorted(
    name
    for name in found
    if name not in (*_GIVEN, *environment.globals)
    and not name.endswith("_token")
  )


def _with_defaults(tree: nodes.Template) -> Iterator[str]:
  """The names that a template sets itself where nobody else has."""
  for asked in tree.find_all((nodes.Test, nodes.Filter)):
    assert isinstance(asked, nodes.Test | nodes.Filter)
    if asked.name in _ASKS and isinstance(asked.node, nodes.Name):
      yield asked.node.name
  for each in tree.find_all(nodes.Assign):
    value = each.node
    first = value.left if isinstance(value, nodes.Or) else None
    names = {n.name for n in (each.target, first) if isinstance(n, nodes.Name)}
    if isinstance(first, nodes.Name) and names == {first.name}:
      yield first.name


def _literal(value: Any) -> str:
  """A value as jinja2 reads it."""
  if isinstance(value, str):
    escaped = value.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'
  if isinstance(value, list):
    return f"[{', '.join(map(_literal, value))}]"
  if isinstance(value, dict):
    items = (f"{_literal(k)}: {_literal(v)}" for k, v in value.items())
    return f"{{{', '.join(items)}}}"
  return (
    str(value).lower()
    if value is None or value is True or (value is False)
    else repr(value)
  )
