import pytest

from offalign.data.reading.cells import Cells
from offalign.data.reading.parsing import Fault


def refuse(*given):
  raise Fault(f"no use for {given}")


def test_cells_that_are_absent_null_or_wrong_are_noted():
  cells = Cells({"a": 1, "b": None})
  assert cells.read("a", lambda x, more: x + more, 2) == 3
  assert not cells.faults
  for column in ("a", "b", "c"):
    assert cells.read(column, refuse, 2) is None
  said = {"a": "no use for (1, 2)", "b": "null", "c": "missing"}
  assert cells.faults == said


def test_what_several_cells_make_is_noted_with_its_place():
  cells = Cells({})
  assert cells.noting("a", 0, lambda: 1) == 1
  assert not cells.faults
  assert cells.noting("a", 0, refuse, "item 2: ") == 0
  assert cells.faults == {"a": "item 2: no use for ()"}


@pytest.mark.parametrize("chosen", ["y", None])
def test_a_pair_without_a_common_prompt_is_noted(chosen):
  cells = Cells({"chosen": chosen, "rejected": "y"})
  assert cells.split() is None
  assert list(cells.faults) == ["chosen"]
