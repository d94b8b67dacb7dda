"""The page of a sweep, made again from its folder."""

import json
import shutil

import pytest

from offalign.compare.sweep import GRID, compare_sweep
from offalign.errors import UserError
from offalign.sweeping import grid, record


def as_sweep(world, folder):
  """A sweep whose one cell is the run that the other files compare."""
  axes, cells = grid.make(grid.read({"loss": "dro_v(tau={1})"}), 1)
  planned = {cell.name: (cell, {}) for cell in cells}
  folder.mkdir()
  made = record.begin(folder, axes, planned)
  (name,) = made.cells
  shutil.copytree(world / "dro", folder / name)
  made.note(name, state="done")
  return folder


def test_a_cell_is_compared_with_what_it_started_from(world, tmp_path):
  folder = as_sweep(world, tmp_path / "sweep")
  judge = str(world / "my_score.py") + ":score"
  found = compare_sweep(folder, judge=judge, limit=4, verbose=False)
  assert found.comparison.baseline.name == "sft"
  assert found.sampled
  assert found.verdict() == ""  # of one option
  page = (folder / "compare.html").read_text()
  assert "win rate against sft" in page
  assert "## Grid" in (folder / "compare.md").read_text()
  assert (folder / "rows.jsonl").exists()

  found = compare_sweep(folder, verbose=False)
  assert found.comparison is None
  assert not (folder / "rows.jsonl").exists()
  assert not json.loads((folder / GRID).read_text())["judged"]
  assert "No judge was given" in (folder / "compare.html").read_text()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"is no sweep: it has no sweep\.json"):
    compare_sweep(tmp_path)
