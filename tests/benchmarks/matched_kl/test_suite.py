"""--suite=kl writes its rows once, and the tables from them."""

import pytest
from absl import flags

from benchmarks import run
from benchmarks.matched_kl import suite
from offalign import leaderboard, losses
from offalign.errors import UserError


def test_each_family_has_five_strengths_and_labels_of_its_own():
  labels = [
    label for family in suite.FAMILIES for label in suite.labels(family)
  ]
  assert len(set(labels)) == 5 * len(suite.FAMILIES)
  for family in suite.FAMILIES:
    for method in family.methods():
      options = losses.get(method.loss).options
      assert options[family.option] in family.values


def test_a_method_without_a_curve_is_refused():
  with pytest.raises(UserError, match="no curve in the suite kl"):
    suite.choose("orpo")
  assert [f.name for f in suite.choose("kto")] == [
    "KTO, batch threshold",
    "KTO, prompt threshold",
  ]


@pytest.mark.slow
def test_a_suite_that_is_run_again_adds_no_row(small, tmp_path, monkeypatch):
  short = [
    suite.Family("DRO-V", "dro_v", "tau", (0.1, 1.0)),
    suite.Family("DPO", "dpo", "beta", (0.1, 1.0)),
  ]
  monkeypatch.setattr(suite, "FAMILIES", short)
  given = ["benchmarks.run", "--suite=kl", "--seeds=3", f"--out={tmp_path}"]
  for _ in range(2):
    flags.FLAGS.unparse_flags()
    flags.FLAGS(given)
    try:
      assert run.main(["benchmarks.run"]) == 0
    finally:
      for name in ("suite", "seeds", "out"):
        flags.FLAGS[name].unparse()
    rows, problems = leaderboard.read(tmp_path)
    assert not problems
    assert sum(not row.control for row in rows) == 12
    assert sum(row.control for row in rows) == 5
  page = (tmp_path / "matched-kl.md").read_text()
  assert "| DRO-V |" in page
  assert "DRO-V less" in page
  assert (tmp_path / "matched-kl-decoder.png").stat().st_size > 5_000
