import json

import comparisons
import pytest

from offalign.compare import report, written


def test_the_files_say_the_same(tmp_path):
  found = comparisons.comparison()
  report.write(found, tmp_path)
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {"compare.html", "compare.md", "compare.json", "rows.jsonl"}
  record = json.loads((tmp_path / written.RECORD).read_text())
  kto = record["policies"][2]
  assert record["baseline"] == "sft"
  assert kto["win_rate"]["rate"] == found.others[1].duel.found.rate
  assert kto["outcomes"] == {"win": 1, "tie": 1, "loss": 2, "none": 0}
  assert kto["score"]["mean"] == pytest.approx(1.75)
  assert (tmp_path / written.ROWS).read_text() == ""  # none was trained
  before = (tmp_path / report.PAGE).read_bytes()
  report.write(found, tmp_path)
  assert (tmp_path / report.PAGE).read_bytes() == before
