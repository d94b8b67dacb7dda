"""What every page of the project owes, checked without a browser."""

import collections
import html.parser

_VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
_LOADS = {"src", "href", "xlink:href", "data", "poster", "srcset", "action"}


class Page(html.parser.HTMLParser):
  """A parsed page.

  Attributes:
    mistakes: tags that do not match.
    ids: every id, in order.
    loads: (tag, attribute, value) of what could be fetched or followed.
    handlers: attributes that would run script.
    styles: every style attribute and style element.
    tags: how often each tag occurs.
    text: what is shown.
  """

  def __init__(self, source):
    super().__init__()
    self.mistakes, self.ids, self.loads, self.handlers = [], [], [], []
    self.styles, self.text, self._open = [], "", []
    self.tags = collections.Counter()
    self.references = []
    self.feed(source)
    self.close()
    self.mistakes += [f"<{tag}> is left open" for tag in self._open]

  def handle_starttag(self, tag, attrs):
    self._attributes(tag, attrs)
    if tag not in _VOID:
      self._open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self._attributes(tag, attrs)

  def handle_endtag(self, tag):
    if not self._open or self._open[-1] != tag:
      self.mistakes.append(f"</{tag}> at {self.getpos()} closes {self._open}")
    else:
      self._open.pop()

  def handle_data(self, data):
    inside = self._open[-1] if self._open else ""
    if inside == "style":
      self.styles.append(data)
    elif inside != "script":
      self.text += data

  def _attributes(self, tag, attrs):
    self.tags[tag] += 1
    names = [name for name, _ in attrs]
    if len(names) != len(set(names)):
      self.mistakes.append(f"<{tag}> at {self.getpos()} repeats an attribute")
    for name, value in attrs:
      value = value or ""
      if name == "id":
        self.ids.append(value)
      if name in _LOADS:
        self.loads.append((tag, name, value))
      if name in _LOADS and value.startswith("#"):
        self.references.append(value[1:])
      if name == "clip-path":
        self.references.append(value[len("url(#") : -1])
      if name.startswith("on"):
        self.handlers.append((tag, name, value))
      if name == "style":
        self.styles.append(value)


def check(source):
  """Parses a page and checks it; returns it for further questions."""
  assert source.startswith("<!doctype html>\n")
  page = Page(source)
  assert page.mistakes == []
  twice = [k for k, n in collections.Counter(page.ids).items() if n > 1]
  assert twice == []
  assert set(page.references) <= set(page.ids)
  assert page.handlers == []
  outside = [
    load for load in page.loads if not load[2].startswith(("#", "data:"))
  ]
  assert outside == []
  for style in page.styles:
    assert "@import" not in style
    assert "url(" not in style
  assert page.tags["script"] == 1
  assert page.tags["h1"] == 1
  assert "default-src 'none'" in source
  return page
