"""The curves of a run."""

import json

from offalign import losses
from offalign.policy import run_curves


def test_curves_end_at_a_step_and_two_runs_may_be_on_a_page(tmp_path):
  lines = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_score": 1.0}]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "metrics.jsonl").write_text(text)
  sft = losses.get("sft")
  first = run_curves.figures(tmp_path, sft, 1, "a")
  assert "Loss by step." in first
  assert "Scores of what" not in first
  whole = run_curves.figures(tmp_path, sft, name="b")
  assert "Scores of what" in whole
  assert 'aria-label="a: loss by step"' in first
  assert not {*_ids(first)} & {*_ids(whole)}
  nothing = run_curves.figures(tmp_path / "none", sft)
  assert nothing == "<p>Nothing was logged.</p>"


def _ids(page):
  return [part.split('"')[0] for part in page.split(' id="')[1:]]
