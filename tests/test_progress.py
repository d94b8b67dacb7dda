"""Progress: lines in a log, a bar on a terminal, silence where asked."""

import io
import itertools

import pytest

from offalign import data, progress
from offalign.data.reading import readers
from offalign.data.reading import table as table_lib
from offalign.data.text import layout
from offalign.progress import Progress
from offalign.types import Kind


@pytest.fixture
def clock(monkeypatch):
  """A clock that goes on by as many seconds each time it is read."""
  ticks = itertools.count(0, 4)
  monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_a_log_has_a_line_every_ten_seconds(clock, capsys):
  with (
    progress.of_run(lambda: True),
    Progress("tokenising", 4000, "text") as bar,
  ):
    for _ in range(6):
      bar.update(500)
  said = capsys.readouterr()
  # The clock is read once at the beginning and once by each update.
  assert said.out.splitlines() == [
    "tokenising: 1,500 of 4,000 texts, 125/s, 00:20 left",
    "tokenising: 3,000 of 4,000 texts, 125/s, 00:08 left",
  ]
  assert said.err == ""


def test_of_an_unknown_number_nothing_is_left_to_say(clock, capsys):
  with progress.of_run(lambda: True), Progress("reading a", None, "row") as bar:
    for _ in range(3):
      bar.update(1000)
  assert capsys.readouterr().out == "reading a: 3,000 rows, 250/s\n"


def test_short_work_says_nothing(capsys):
  with progress.of_run(lambda: True), Progress("reading", 9, "row") as bar:
    bar.update(9)
  assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("speaks", [None, lambda: False])
def test_a_log_of_no_run_and_of_a_silent_one_has_no_lines(
  clock, capsys, speaks
):
  with Progress("reading", None, "row", speaks=speaks) as bar:
    for _ in range(9):
      bar.update(1000)
  assert capsys.readouterr() == ("", "")


def test_a_run_that_ends_leaves_silence_behind(clock, capsys):
  with progress.of_run(lambda: True):
    pass
  with Progress("reading", None, "row") as bar:
    for _ in range(9):
      bar.update(1000)
  assert capsys.readouterr() == ("", "")


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize("silent", [False, True])
def test_a_terminal_has_a_bar_and_no_lines(monkeypatch, capsys, silent):
  terminal = _Terminal()
  monkeypatch.setattr(progress.sys, "stderr", terminal)
  with (
    progress.of_run(lambda: not silent),
    Progress("scoring", 2000, "row", leave=True) as bar,
  ):
    bar.update(2000)
  assert capsys.readouterr().out == ""
  assert ("2.00k/2.00k" in terminal.getvalue()) is not silent


def test_reading_and_tokenising_count_all(monkeypatch, tmp_path):
  counted = {}

  class Counting(Progress):
    def __init__(self, title, total, unit, **options):
      super().__init__(title, total, unit, **options)
      self._key = title.partition(" ")[0], total
      counted[self._key] = 0

    def update(self, number=1):
      counted[self._key] += number

  for module in (readers, table_lib, layout):
    monkeypatch.setattr(module, "Progress", Counting)
  path = tmp_path / "a.jsonl"
  path.write_text(
    '{"prompt": "a", "completion": "b", "label": true}\n'
    '{"prompt": "a", "completion": "c", "label": false}\n'
  )
  table = data.load(path)
  view = data.view(table.records, Kind.SINGLE)
  data.tokenize(view, data.make_tokenizer("byte"))
  assert counted == {
    ("reading", None): 2,
    ("checking", 2): 2,
    ("tokenising", 3): 3,
  }
