"""What the site is made with: docstrings as text, and nothing fetched."""

import pathlib
import sys

import pytest

pytest.importorskip("sphinx", reason="the extra [docs] is not installed")
sys.path.append(str(pathlib.Path(__file__).parents[2] / "docs" / "ext"))

import evidence
import mathml
import offline
import plain_docstrings
from docutils import nodes


@pytest.mark.parametrize(
  ("text", "made"),
  [
    ("|beta| * rho_ and `x_y`s", "\\|beta\\| \\* rho\\_ and ``x_y``\\ s"),
    ("As in\n* one\n* two", "As in\n\n* one\n* two"),
    ("Run:\n\n  python -m x", "Run:\n\n\n::\n\n  python -m x"),
    (
      "One.\n\nArgs:\n  x: [B], > 0;\n    1 / nat.",
      "One.\n\nArgs:\n  x: [B], > 0;\n    1 / nat.",
    ),
    (">>> a * b\n'`c`'\n\nand *", ">>> a * b\n'`c`'\n\nand \\*"),
    ("Example:\n  with x * y:\n    z", "Example::\n\n  with x * y:\n    z"),
  ],
)
def test_docstrings_are_text(text, made):
  assert "\n".join(plain_docstrings.convert(text.splitlines())) == made


def test_a_page_that_fetches_is_found(tmp_path):
  (tmp_path / "own.html").write_text(
    '<script src="_static/x.js"></script><a href="https://a.b">link</a>'
    '<link rel="canonical" href="https://a.b">'
  )
  assert offline.fetched(tmp_path) == []
  (tmp_path / "cdn.html").write_text('<script src="https://cdn/m.js"></script>')
  (tmp_path / "a.html").write_text('<link rel="stylesheet" href="//cdn/x.css">')
  (tmp_path / "font.css").write_text("src: url(https://fonts/x.woff)")
  assert offline.fetched(tmp_path) == ["a.html", "cdn.html", "font.css"]


class Translator:
  def __init__(self):
    self.body = []

  def encode(self, text):
    return text


def test_formulas_are_mathml():
  page = Translator()
  with pytest.raises(nodes.SkipNode):
    mathml._visit(page, nodes.math_block(r"\frac{1}{2}", r"\frac{1}{2}"))
  assert page.body[0].startswith('<div class="formula"><math')
  assert "<mfrac>" in page.body[0]


def test_a_formula_that_cannot_be_drawn_is_a_warning(monkeypatch):
  said = []
  monkeypatch.setattr(
    mathml._log, "warning", lambda *args, **more: said.append(args)
  )
  with pytest.raises(nodes.SkipNode):
    mathml._visit(Translator(), nodes.math(r"\nonsense", r"\nonsense"))
  assert "no MathML" in said[0][0]


def test_advice_stands_on_rows_that_are_there(tmp_path):
  board = tmp_path / "benchmarks" / "results" / "tuned"
  board.mkdir(parents=True)
  (board / "report.md").write_text("# Board")
  (board / "rows.jsonl").write_text('{"label": "kto"}\n{"label": "a, b"}\n')
  page = tmp_path / "docs" / "guides" / "choosing.md"
  page.parent.mkdir(parents=True)

  def said(lines, folder="tuned"):
    link = f"../../benchmarks/results/{folder}/report.md#rows={lines}"
    return evidence.missing(page, f"KTO is good ([board]({link})).")

  assert said("kto") == said("a%2C%20b;kto") == []
  (sentence,) = said("kto;dpo")
  assert sentence.startswith("cites 'dpo' of ../../benchmarks/results/tuned")
  (sentence,) = said("kto", "gone")
  assert sentence.endswith("which is not there with its rows")


def test_every_page_cites_rows_that_are_there():
  root = pathlib.Path(__file__).parents[2]
  pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
  found = {p: evidence.missing(p, p.read_text(encoding="utf-8")) for p in pages}
  assert not {page: said for page, said in found.items() if said}
