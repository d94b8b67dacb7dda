import ast
import fnmatch
import pathlib
import re
import tomllib

import jinja2
import pytest

from offalign import pages

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "offalign").rglob("*.html"))
ROOMS = ("pages", "audit", "leaderboard")
TAG = re.compile(
  r"</?(a|button|code|details|div|figure|h[1-6]|li|main|nav|p|pre|script"
  r"|section|span|summary|svg|t[dhr]|table|ul|wbr)\b"
)
SVG = {"marks.py"}  # whose shapes are computed


def test_text_is_escaped_and_an_unknown_name_is_an_error():
  made = pages.environment().from_string
  assert made("{{ a }}").render(a="<b>\"'&") == "&lt;b&gt;&#34;&#39;&amp;"
  with pytest.raises(jinja2.UndefinedError):
    made("{{ a }}").render()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_templates_compile_and_are_package_data(path):
  name = path.relative_to(ROOT / "offalign").as_posix()
  pages.environment().get_template(name)
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  data = project["tool"]["setuptools"]["package-data"]
  assert any(fnmatch.fnmatch(path.name, p) for p in data["*"])


def test_python_holds_no_html():
  found = [
    f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
    for room in ROOMS
    for path in (ROOT / "offalign" / room).rglob("*.py")
    if path.name not in SVG
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Constant)
    and isinstance(node.value, str)
    and TAG.search(node.value)
  ]
  assert found == []


def test_control_characters_are_not_on_a_page():
  section = pages.Section(
    "A\x00",
    pages.template("pages/parts.html").bullets(
      ["a\x1b[31mb", "c\x7f\x85", "d\t\u2013\U0001f600"]
    ),
  )
  source = pages.page("T\x08", [section])
  assert "a\ufffd[31mb" in source
  assert "c\ufffd\ufffd" in source
  assert "d\t\u2013\U0001f600" in source
  assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", source)
