"""Matplotlib figures as inline SVG that follows the page's light or dark.

Every picture is drawn with the fonts, axes and ink of `STYLE`.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup, escape

from offalign.pages.colours import themed
from offalign.pages.templates import Content, printable, template

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SALT = "offalign"  # of matplotlib's ids, which would else be random
_SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": _SALT}
_NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_FONT = re.compile(r"(font(?:-family)?: [^;]*?)'[^;]*")
_REFERENCE = re.compile(r"#([\w.-]+)")
_INK = "#222222"
STYLE: dict[Any, Any] = {
  "font.family": "DejaVu Sans",
  "font.size": 10,
  "axes.titlesize": 11,
  "axes.titlelocation": "left",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.edgecolor": "#666666",
  "axes.labelcolor": _INK,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#E9E9E9",
  "xtick.color": "#444444",
  "ytick.color": "#444444",
  "text.color": _INK,
}
"""Matplotlib settings, applied around drawing and saving only."""


def figure(
  picture: "Figure",
  caption: Content,
  *,
  narrow: "Figure | None" = None,
  key: Sequence[tuple[Markup, str]] = (),
  always: bool = False,
  label: str = "",
) -> Markup:
  """Turns a matplotlib figure into markup.

  Text stays text, in the page's font, so that it can be read aloud,
  searched and copied. The same figure gives the same bytes.

  Args:
    picture: drawn for white paper. Greys become mixtures of the page's ink
      and paper; other colours are lifted on dark paper.
    caption: what the figure shows.
    narrow: a version about 330 points wide, shown instead of `picture` on a
      phone; without it, the picture scrolls there.
    key: (swatch, name) pairs, shown beside the narrow version.
    always: show the key on wide screens too.
    label: the picture's name for screen readers; by default the caption.

  Raises:
    ValueError: where matplotlib writes a colour in another notation than
      #rrggbb.
  """
  name = label or Markup(escape(caption)).striptags()
  drawings = [("wide" if narrow else "only", svg(picture, name))]
  if narrow:
    drawings.append(("narrow", svg(narrow, name)))
  return template("pages/parts.html").figure(drawings, caption, key, always)


def svg(picture: "Figure", label: str) -> Markup:
  """Returns a figure's SVG element, whose ids no other figure has.

  Args:
    picture: the figure.
    label: its name for screen readers.
  """
  import matplotlib

  stream = io.StringIO()
  with matplotlib.rc_context(_SETTINGS):
    picture.savefig(
      stream,
      format="svg",
      transparent=True,
      bbox_inches="tight",
      metadata=_NOTHING,
    )
  text = printable(stream.getvalue())
  digest = hashlib.sha256(f"{label}\n{text}".encode()).hexdigest()
  root = ElementTree.fromstring(text)
  _tidy(root, prefix=f"f{digest[:8]}-")
  for name in ("width", "height", "version"):
    root.attrib.pop(name, None)
  root.attrib |= {"role": "img", "aria-label": label}
  # Matplotlib's own style element would hold for the whole page.
  return Markup(ElementTree.tostring(root, encoding="unicode"))


def _tidy(root: ElementTree.Element, prefix: str) -> None:
  """Drops namespaces, metadata and unused ids; themes colours and fonts."""
  for element in list(root.iter()):
    for child in list(element):
      if _local(child.tag) in ("metadata", "style"):
        element.remove(child)
  used = set(_references(root))
  for element in root.iter():
    element.tag = _local(element.tag)
    element.text = _blank(element.text)
    element.tail = _blank(element.tail)
    attributes = {_local(k): v for k, v in element.attrib.items()}
    if attributes.get("id") not in used:
      attributes.pop("id", None)
    if attributes.get("transform", "").startswith("rotate(-0 "):
      del attributes["transform"]
    for name, value in attributes.items():
      if name == "id":
        value = prefix + value
      elif name in ("href", "clip-path"):
        value = _REFERENCE.sub(rf"#{prefix}\1", value)
      elif name == "d":
        value = " ".join(value.split())
      elif name == "style":
        value = _COLOUR.sub(lambda found: themed(found[0]), value)
        value = _FONT.sub(r"\1var(--sans)", value)
      attributes[name] = value
    element.attrib.clear()
    element.attrib.update(attributes)


def _references(root: ElementTree.Element) -> Iterator[str]:
  for element in root.iter():
    for name, value in element.attrib.items():
      if _local(name) in ("href", "clip-path"):
        yield from _REFERENCE.findall(value)


def _local(name: str) -> str:
  return name.rpartition("}")[2]


def _blank(text: str | None) -> str | None:
  """Returns the text; None for the white space between elements."""
  return text if text and text.strip() else None
