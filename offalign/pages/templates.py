"""Jinja2 templates: HTML is written in `*.html` files, with autoescape.

Python computes what a page says, templates how it looks. A template is named
by its path in the package, such as "audit/report/page.html", so that each
report keeps its own beside its code.
"""

import functools
import re
from typing import Any

import jinja2
from markupsafe import Markup

_UNSHOWN = re.compile(
  "[^\t\n\r -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
  "|[\u202a-\u202e\u2066-\u2069]"
)
Content = str | Markup
"""Text, which is escaped, or markup, which is not."""


def template(name: str) -> Any:
  """Loads a template; its macros are functions that return `Markup`.

  Args:
    name: the path in the package, such as "pages/parts.html".

  Raises:
    jinja2.TemplateNotFound: where there is no such file.
  """
  return environment().get_template(name).module


@functools.cache
def environment() -> jinja2.Environment:
  """The jinja2 environment of every page: escapes, and knows every name."""
  made = jinja2.Environment(
    loader=jinja2.PackageLoader("offalign", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  made.filters["words"] = _words
  return made


def printable(text: str) -> str:
  """Replaces control characters by U+FFFD.

  HTML and XML forbid them; those of writing direction would turn around what
  stands beside a name.
  """
  return _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


def _words(text: str) -> list[str]:
  """Words, and the white space between them."""
  return [word for word in re.split(r"(\s+)", text) if word]
