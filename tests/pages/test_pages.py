import base64
import hashlib
import re
import subprocess
import sys

import html_checks
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from offalign import pages
from offalign.pages import Cell, Column, Section, Table

NASTY = "</td></script><script>alert(1)</script><img src=x onerror=\"f('&')\">"


PARTS = pages.template("pages/parts.html")


def table(*args, **options):
  return PARTS.table(Table(*args, **options))


def picture(size=(4.0, 3.0), colour="#0072B2"):
  drawn = Figure(figsize=size)
  axes = drawn.add_subplot()
  axes.plot([0, 1, 2], [0.1, 0.5, 0.2], "o-", color=colour)
  axes.plot([0, 1, 2], [0.2, 0.1, 0.2], "s--", color="#333333", label=NASTY)
  axes.set_xlabel(NASTY)
  axes.legend()
  return drawn


def test_a_page_of_every_part_is_whole():
  rows = [[NASTY, Cell("0.5", "± 0.1", shade=0.4)], ["b", "–"]]
  parts = [
    PARTS.bullets([NASTY, "b"]),
    PARTS.cards([(NASTY, NASTY, NASTY)]),
    PARTS.breakable(NASTY),
    table(
      [Column("name", header=True, help=NASTY), Column("n", numeric=True)],
      rows,
      caption=NASTY,
      faint=[1],
    ),
    pages.figure(
      picture(),
      NASTY,
      narrow=picture((2.0, 2.0)),
      key=[(pages.swatch("#0072B2", marker="o"), NASTY)],
    ),
    PARTS.command(NASTY),
    PARTS.fold(NASTY, caller=lambda: NASTY),
  ]
  body = Markup("\n").join(parts)
  source = pages.page(
    NASTY, [Section(NASTY, body), Section("Rest", Markup())], lead=NASTY
  )
  page = html_checks.check(source)
  assert page.tags["img"] == 0
  assert page.tags["svg"] == 3
  assert page.tags["text"] > 10  # text of a figure stays text
  # Title twice, contents, section, and what the parts show.
  assert page.text.count(NASTY) >= 16


def test_the_policy_lets_only_the_own_script_run():
  source = pages.page("T", [Section("A", Markup("<p>a</p>"))])
  (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
  rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
  assert rules["default-src"] == "'none'"
  assert rules["img-src"] == "data:"
  (script,) = re.findall(r"<script>(.*)</script>", source, re.DOTALL)
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert rules["script-src"] == f"'sha256-{digest}'"
  assert not {"connect-src", "font-src", "frame-src"} & set(rules)


def test_figures_are_the_same_bytes_each_time():
  once, again = (pages.figure(picture(), "A") for _ in range(2))
  assert once == again
  other = pages.figure(picture(), "B")
  ids = [set(re.findall(r' id="([^"]*)"', text)) for text in (once, other)]
  assert ids[0]
  assert not ids[0] & ids[1]
  assert "matplotlib" not in once
  assert "<metadata" not in once


def test_a_figure_takes_the_colours_of_the_page():
  drawn = pages.figure(picture(), "A")
  assert "color-mix(in srgb, #0072b2, white var(--lift))" in drawn
  # #333333 has nine tenths of the ink (#1c1f24) over white.
  assert "color-mix(in srgb, var(--ink) 90%, var(--paper))" in drawn
  assert not re.search(r"(fill|stroke): #", drawn)
  assert "DejaVu" not in drawn
  assert "var(--sans)" in drawn


def test_a_figure_twice_on_a_page_is_refused():
  twice = pages.figure(picture(), "A") * 2
  with pytest.raises(ValueError, match="more than once"):
    pages.page("T", [Section("A", twice)])


def test_sections_of_one_title_have_their_own_anchors():
  parts = [Section("A b", Markup()), Section("A b", Markup()), Section("–", "")]
  source = pages.page("T", parts)
  assert re.findall(r'<section id="([^"]*)"', source) == [
    "a-b",
    "a-b-2",
    "section",
  ]
  html_checks.check(source)


def keys(text):
  return re.findall(r'data-key="([^"]*)"', text)


def test_a_column_sorts_by_what_its_cells_say():
  column = Column("n", numeric=True, first="descending", sorted="descending")
  cells = ["1,024", "\N{MINUS SIGN}3.5", "+0.5", "12 %", "–", "nan", ""]
  made = table([column], [[cell] for cell in cells])
  assert keys(made) == ["1024.0", "-3.5", "0.5", "12.0", "", "", ""]
  assert 'aria-sort="descending"' in made
  assert 'data-first="descending"' in made
  # As the script reads them, which knows no "inf".
  made = table([Column("n", numeric=True)], [["inf"], ["-inf"]])
  assert keys(made) == ["Infinity", "-Infinity"]
  made = table(
    [Column("n", numeric=True), Column("x", sortable=False)],
    [[Cell("high", key=2.0), "a"], [Cell("low", key=-1.0), "b"]],
  )
  assert keys(made) == ["2.0", "-1.0"]
  assert made.count("<button") == 1


def test_a_table_of_one_row_or_a_plain_one_does_not_sort():
  one = table([Column("n", sorted="ascending")], [["1"]])
  plain = table([Column("n")], [["1"], ["2"]], sortable=False)
  for made in (one, plain):
    assert "<button" not in made
    assert "aria-sort" not in made
    assert "sortable" not in made


def test_asides_keep_the_numbers_before_them_aligned():
  made = table([Column("n", numeric=True)], [[Cell("1.0", "± 0.25")], ["2.0"]])
  assert '<span class="aside">± 0.25</span>' in made
  assert '<span class="pad" aria-hidden="true">± 0.25</span>' in made


def test_a_row_of_another_width_is_refused():
  with pytest.raises(ValueError, match="row 1 has 1 cells for 2 columns"):
    table([Column("a"), Column("b")], [["1", "2"], ["1"]])


def test_an_interval_stays_within_its_scale():
  drawn = pages.interval(0.5, 0.2, [0.3, 0.7, 9.0], (0.0, 1.0), mark=0.5)
  assert 'cx="66.0"' in drawn
  assert "M42.0 10H90.0" in drawn  # 24 = 0.2 of 120
  assert "M126.0 6v8" in drawn  # 9.0 is drawn at the end
  assert "bar" not in pages.interval(0.5, None, [0.5], (0.0, 1.0))
  assert "circle" not in pages.interval(float("nan"), None, [], (0.0, 1.0))


def test_an_unknown_marker_or_colour_is_refused():
  with pytest.raises(ValueError, match="no marker 'z'"):
    pages.swatch("#000000", marker="z")
  with pytest.raises(ValueError, match="is not #rrggbb"):
    pages.swatch("red", marker="o")


def test_pages_import_neither_jax_nor_matplotlib():
  code = (
    "import sys, offalign.pages; "
    "print([m for m in ('jax', 'matplotlib') if m in sys.modules])"
  )
  seen = subprocess.check_output([sys.executable, "-c", code], text=True)
  assert seen.strip() == "[]"
