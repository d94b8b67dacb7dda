import numpy as np
import pytest
from audit_cases import QUICK, rated

from offalign.audit import audit
from offalign.audit.scan import entries
from offalign.audit.statistics import streaming


def test_parts_that_are_full_are_said_to_be_estimates(put, monkeypatch):
  monkeypatch.setattr(entries, "HELD", 8)
  monkeypatch.setattr(entries, "LIMIT", 10)
  rows = [
    {"prompt": "", "completion": f"c{i}", "reward": float(i)} for i in range(50)
  ]
  report = audit(put(rows), QUICK)
  assert report.measures.estimated == 40
  assert report.seen.completions == 50
  assert "sampled" not in {f.kind for f in report.findings}
  (note,) = [f for f in report.findings if f.kind == "estimated"]
  assert "40 completions" in note.what


def test_a_sample_is_said_to_be_one(put, monkeypatch):
  monkeypatch.setattr(streaming, "SAMPLE", 100)
  report = audit(put(rated(prompts=60)), QUICK)
  (note,) = [f for f in report.findings if f.kind == "sampled"]
  assert "100 completions" in note.what
  mean = np.mean([row["reward"] for row in rated(prompts=60)])
  assert report.measures.values[0].mean == pytest.approx(mean)
