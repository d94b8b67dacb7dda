from offalign.audit import AuditConfig, audit


def test_leakage(put, where):
  train = [{"prompt": f"P {i}", "completion": f"c{i}"} for i in range(30)]
  test = [
    {"prompt": "P 3", "completion": "c3", "reward": 0.0},
    {"prompt": "P 3", "completion": "other", "reward": 1.0},
    {"prompt": "p  4", "completion": "c4", "reward": 1.0},
  ]
  test += [
    {"prompt": f"q{i}", "completion": "c", "reward": 0.0} for i in range(27)
  ]
  report = audit(
    put(train, "train.jsonl"),
    AuditConfig(methods=False, test=put(test, "test.jsonl")),
  )
  exact, near = (
    next(f for f in report.findings if f.kind == kind)
    for kind in ("leakage", "near_leakage")
  )
  assert "1 prompt of the test set's 29 (3.4%)" in exact.what
  assert "1 completions with them" in exact.what
  assert exact.where[0].endswith("train.jsonl, row 3")
  assert "test.jsonl, row 0 is in training" in exact.where[0]
  assert "test.jsonl, row 2 is in training" in near.where[0]
  assert report.status() == 1


def test_no_leakage_where_there_is_none(put):
  train = [{"prompt": f"p{i}", "completion": "c"} for i in range(9)]
  test = [{"prompt": f"q{i}", "completion": "c"} for i in range(9)]
  config = AuditConfig(methods=False, test=put(test, "test.jsonl"))
  report = audit(put(train), config)
  assert report.status() == 0
  assert report.leakage.prompts == 9
