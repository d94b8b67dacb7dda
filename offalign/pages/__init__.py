"""HTML reports in one file: text, tables that sort, figures in the theme.

A page asks for nothing else: no font, script, picture or address outside of
it, and a policy in its head forbids every request. It follows the reader's
light or dark scheme and fits a phone. Python gives plain data, jinja2
templates make the markup:

    parts = template("pages/parts.html")
    rows = Table(
      [Column("file"), Column("rows", numeric=True)], [["a.jsonl", "1,024"]]
    )
    page(
      "Audit",
      [
        Section("Rows", parts.table(rows)),
        Section("Lengths", figure(picture, "Tokens in each completion.")),
      ],
    )

Text is escaped: what is not `markupsafe.Markup` is text. Nothing here imports
jax, and only `figure` imports matplotlib.
"""

from offalign.pages.document import Section, page
from offalign.pages.figures import figure
from offalign.pages.marks import interval, swatch
from offalign.pages.tables import Cell, Column, Table
from offalign.pages.templates import Content, environment, printable, template

__all__ = [
  "Cell",
  "Column",
  "Content",
  "Section",
  "Table",
  "environment",
  "figure",
  "interval",
  "page",
  "printable",
  "swatch",
  "template",
]
