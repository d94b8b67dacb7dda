"""--tune writes two boards, and goes on where it was stopped."""

import pytest
from absl import flags

from benchmarks import run
from benchmarks.tuning import suite
from benchmarks.tuning.draws import best, read
from offalign import leaderboard


def start(*args):
  """Runs the program with flags, as from a shell."""
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", *args])
  try:
    return run.main(["benchmarks.run"])
  finally:
    for name in ("suite", "methods", "seeds", "out", "model", "tune"):
      flags.FLAGS[name].unparse()


@pytest.mark.slow
def test_a_stopped_suite_goes_on_to_the_same_rows(small, tmp_path, monkeypatch):
  given = ("--suite=ops", "--tune=2", "--seeds=2", "--methods=dpo,dro_v, one V")
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  assert start(*given, f"--out={whole}") == 0
  made = suite._draw
  calls = []

  def stopped(*args):
    calls.append(args)
    if len(calls) == 4:
      raise KeyboardInterrupt
    return made(*args)

  monkeypatch.setattr(suite, "_draw", stopped)
  with pytest.raises(KeyboardInterrupt):
    start(*given, f"--out={cut}")
  monkeypatch.setattr(suite, "_draw", made)
  assert len(read(cut / "tuning" / "draws.jsonl")) == 3
  assert start(*given, f"--out={cut}") == 0

  rows = [leaderboard.read(folder)[0] for folder in (whole, cut)]
  assert [_numbers(row) for row in rows[0]] == [_numbers(r) for r in rows[1]]
  trained = [row for row in rows[0] if not row.control]
  assert {row.scenario for row in trained} == {
    f"L=0.37, {suite.TUNED}",
    f"L=0.37, {suite.DEFAULTS}",
  }
  # No reported run is of the log that was tuned on.
  assert {row.seed for row in trained} == {1, 2}
  draws = read(whole / "tuning" / "draws.jsonl")
  for line in {draw.line for draw in draws}:
    chosen = best([draw for draw in draws if draw.line == line])
    said = {
      (row.loss, row.selection)
      for row in trained
      if row.label == line and row.scenario.endswith(suite.TUNED)
    }
    ((loss, how),) = said
    assert loss == chosen.loss
    assert f"learning rate {chosen.learning_rate:g}" in how
  page = (whole / "tuning" / "tuning.md").read_text()
  assert "dro_v, one V" in page
  assert (whole / "tuning" / "best-of-k-decoder.png").stat().st_size > 5_000
  # Another command is not mixed with it.
  assert start("--suite=ops", "--tune=3", f"--out={whole}") == 2


def _numbers(row):
  """What two runs of the same settings agree in."""
  return row.group, row.label, row.seed, row.metrics, row.folds, row.selection
