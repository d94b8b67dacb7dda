"""A whole HTML page from its sections: contents, style, script and policy."""

import base64
import collections
import dataclasses
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Sequence

from markupsafe import Markup

from offalign.pages.templates import Content, environment, printable

_ID = re.compile(r'<[^<>]*? id="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a page with a heading and a line in the contents.

  Attributes:
    title: the heading.
    body: markup under the heading, such as a template's macro returns.
    short: the section's name in the contents; by default the title.
    id: the anchor, unique on the page; by default made from the title.
  """

  title: str
  body: Markup
  short: str = ""
  id: str = ""


def page(
  title: str,
  sections: Sequence[Section],
  *,
  lead: Content = "",
  script: str = "",
) -> str:
  """Builds a page in one file, without fonts, pictures or addresses outside.

  Args:
    title: the heading, and the window's title.
    sections: from top to bottom; the contents list them.
    lead: a paragraph under the heading.
    script: a file of the package, such as "compare/blind.js", in place of the
      script that pages share.

  Returns:
    HTML whose policy forbids every request and every script but the page's
    own. It depends on nothing but the arguments: no clock. Control
    characters are replaced by U+FFFD.

  Raises:
    ValueError: where two elements have one id, as when a figure is put on
      the page twice.
  """
  code = _asset(script) if script else _asset("pages/page.js")
  source = environment().get_template("pages/page.html")
  text = source.render(
    policy=Markup(_policy(code)),
    title=title,
    style=_asset("pages/page.css"),
    lead=lead,
    sections=list(zip(_anchors(sections), sections, strict=True)),
    script=code,
  )
  counted = collections.Counter(_ID.findall(text))
  twice = [name for name, count in counted.items() if count > 1]
  if twice:
    raise ValueError(f"the page has the id {twice[0]!r} more than once")
  return printable(text) + "\n"


@functools.cache
def _asset(name: str) -> Markup:
  """Reads a file of the package."""
  folder = importlib.resources.files("offalign")
  return Markup((folder / name).read_text(encoding="utf-8"))


def _policy(code: str) -> str:
  """Content-Security-Policy: no request, no script but this page's."""
  digest = hashlib.sha256(code.encode()).digest()
  hashed = base64.b64encode(digest).decode()
  return "; ".join(
    [
      "default-src 'none'",
      f"script-src 'sha256-{hashed}'",
      "style-src 'unsafe-inline'",
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
    ]
  )


def _anchors(sections: Sequence[Section]) -> list[str]:
  """Makes ids of titles; a number tells equal ones apart."""
  taken: set[str] = {section.id for section in sections if section.id}
  ids = []
  for section in sections:
    name = section.id
    if not name:
      words = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
      name, number = words or "section", 1
      while name in taken:
        number += 1
        name = f"{words or 'section'}-{number}"
      taken.add(name)
    ids.append(name)
  return ids
