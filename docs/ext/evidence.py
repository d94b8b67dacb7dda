"""Advice cites rows: a link to a board is checked against the rows it names.

`[board](../../benchmarks/results/tuned/report.md#rows=kto;dpo)` is a link to a
report, and says which lines of it the advice stands on. The build fails where
the report, its rows or a line is not there, so that advice cannot outlive the
board that it came from. On the site the report is a file to download.
"""

import json
import pathlib
import re
import urllib.parse

from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)

_CITED = re.compile(
  r"\[([^\]]*)\]\(([^)\s#]*benchmarks/results/[^)\s#]+)#rows=([^)\s]+)\)"
)


def cited(text: str) -> list[tuple[str, list[str]]]:
  """The reports that a page cites, each with the labels of its lines."""
  return [
    (path, [urllib.parse.unquote(part) for part in lines.split(";")])
    for _, path, lines in _CITED.findall(text)
  ]


def missing(page: pathlib.Path, text: str) -> list[str]:
  """What a page cites and what is not there, a sentence each.

  Args:
    page: that its links start from.
    text: its Markdown.
  """
  out = []
  for path, labels in cited(text):
    report = page.parent / path
    rows = report.parent / "rows.jsonl"
    if not report.exists() or not rows.exists():
      out.append(f"cites {path}, which is not there with its rows")
      continue
    with rows.open(encoding="utf-8") as file:
      held = {json.loads(line)["label"] for line in file if line.strip()}
    out += [
      f"cites {label!r} of {path}, which has no such line"
      for label in labels
      if label not in held
    ]
  return out


def _check(app: Sphinx, name: str, source: list[str]) -> None:
  page = pathlib.Path(app.env.doc2path(name))
  for sentence in missing(page, source[0]):
    _log.warning("%s: %s", name, sentence, location=name)
  source[0] = _CITED.sub(r"{download}`\1 <\2>`", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
  """Looks at every page as it is read."""
  app.connect("source-read", _check)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
