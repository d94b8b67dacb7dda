from offalign.audit import AuditConfig, audit


def pair(i, **more):
  return {"prompt": f"Q{i}", "chosen": "good", "rejected": "bad"} | more


def findings(put, rows):
  report = audit(put(rows), AuditConfig(methods=False))
  return {f.kind: f for f in report.findings}


def test_margins_that_a_run_may_refuse_are_named(put):
  scored = {"score_chosen": 5.0, "score_rejected": 1.0}
  found = findings(
    put, [pair(0, margin=4.0, **scored), pair(1, margin=2.0, **scored)]
  )
  (place,) = found["contrary_margins"].where
  assert place.endswith("row 1: margin 2, scores 5 and 1")
  assert "missing_margins" not in found
  found = findings(put, [pair(0, margin=-4.0), pair(1), pair(2, margin=1.0)])
  assert "row 0: -4" in found["negative_margins"].where[0]
  assert "row 1" in found["missing_margins"].where[0]
  found = findings(put, [pair(0), pair(1)])
  assert not {k for k in found if k.endswith("margins")}
