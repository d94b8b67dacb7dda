import json

import pytest

from offalign.errors import UserError
from offalign.sweeping import grid, record
from offalign.sweeping.record import Measure


def planned(seeds=2, loss="dro_v(tau={0.3,1})"):
  axes, cells = grid.make(grid.read({"loss": loss}), seeds)
  return axes, {cell.name: (cell, {"loss": loss}) for cell in cells}


def test_what_was_written_is_read_again(tmp_path):
  sweep = record.begin(tmp_path, *planned())
  first, second, *_ = sweep.cells
  sweep.note(first, state="done", measure=Measure("AUC", 0.7, 0.05))
  sweep.note(second, state="diverged", why="step 3: it diverges")
  found = record.read(tmp_path)
  assert found == sweep
  assert found.done == [first]
  assert found.failed == {second: "step 3: it diverges"}
  assert found.labels == ["tau=0.3", "tau=1"]


def test_cells_of_an_earlier_grid_are_kept_for_when_they_come_back(tmp_path):
  sweep = record.begin(tmp_path, *planned())
  for name in sweep.cells:
    sweep.note(name, state="done")
  other = record.begin(tmp_path, *planned(1, "dro_v(tau={1,3})"))
  other.write()
  assert [x.state for x in other.cells.values()] == ["done", "waiting"]
  assert "tau=0.3_seed=0" in other.others
  again = record.begin(tmp_path, *planned())
  assert set(again.done) == set(sweep.cells)


def test_a_folder_without_the_file_is_no_sweep(tmp_path):
  assert record.read(tmp_path) is None


@pytest.mark.parametrize(
  "text",
  ["", "[]", "{}", '{"axes": [], "seeds": 1, "cells": {"a": 1}, "others": {}}'],
)
def test_a_damaged_file_is_a_sentence(tmp_path, text):
  (tmp_path / record.FILE).write_text(text)
  with pytest.raises(UserError, match="put the file back"):
    record.read(tmp_path)


def test_an_unknown_state_is_damage(tmp_path):
  sweep = record.begin(tmp_path, *planned(1))
  sweep.write()
  about = json.loads((tmp_path / record.FILE).read_text())
  about["cells"]["tau=1_seed=0"]["state"] = "won"
  (tmp_path / record.FILE).write_text(json.dumps(about))
  with pytest.raises(UserError, match="not what a sweep writes"):
    record.read(tmp_path)
