import json
import sqlite3

import pytest

from offalign.audit import AuditConfig, audit
from offalign.audit.report.console import text
from offalign.audit.report.page import page


def rows(n=8):
  return [
    {
      "prompt": f"q<b>{i}</b>\x1b[2J",
      "response": "a" * 100 + str(i),
      "score": i,
    }
    for i in range(n)
  ]


MAPPED = AuditConfig(methods=False, columns="completion=response, reward=score")


def test_named_rows_show_their_texts_escaped_and_cut(put):
  table = rows()
  table[3]["response"] = 7
  report = audit(put(table), MAPPED)
  (found,) = [f for f in report.findings if f.kind == "bad_rows"]
  assert found.texts[0].startswith(r"prompt 'q<b>3</b>\x1b[2J', ")
  assert ", response 7, score 3" in found.texts[0]
  shown = text(report)
  assert found.texts[0] in shown
  assert "\x1b" not in shown
  assert "q&lt;b&gt;3&lt;/b&gt;" in page(report)
  table[3]["response"] = table[2]["response"]
  table[3]["prompt"], table[3]["score"] = table[2]["prompt"], 2
  report = audit(put(table), MAPPED)
  (found,) = [f for f in report.findings if f.kind == "duplicate_rows"]
  assert "..., score 2" in found.texts[0]
  assert len(found.texts[0]) < 200


def test_the_first_three_places_have_texts(put):
  table = [
    {**row, "score": None if i < 5 else "x"} for i, row in enumerate(rows())
  ]
  plain = AuditConfig(methods=False, columns="completion=response")
  # without a map of `score`, it is no column that is read
  assert audit(put(table), plain).scan.unused == {"score": None}
  report = audit(put(table), MAPPED)
  assert report.scan.unrated == 5
  (found,) = [f for f in report.findings if f.kind == "bad_rows"]
  assert found.count == 3
  assert len(found.texts) == 3
  assert "5 rows left out as not rated: no value in 'score'" in text(report)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "db"])
def test_the_audit_proposes_the_map_and_takes_it(tmp_path, kind):
  path = tmp_path / f"log.{kind}"
  told = [
    {"question": f"q{i}", "answer": f"a{i}", "thumb": ["up", "down"][i % 2]}
    for i in range(8)
  ]
  if kind == "jsonl":
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
  elif kind == "csv":
    lines = [",".join(row.values()) for row in told]
    path.write_text("\n".join([",".join(told[0]), *lines]))
  else:
    with sqlite3.connect(path) as db:
      db.execute("CREATE TABLE thumbs (question, answer, thumb)")
      values = [tuple(row.values()) for row in told]
      db.executemany("INSERT INTO thumbs VALUES (?, ?, ?)", values)
    db.close()
  columns = "prompt=question, completion=answer, label=thumb:up/down"
  report = audit(str(path), AuditConfig(methods=False))
  (found,) = report.findings
  assert found.severity == "error"
  assert f"columns='{columns}'" in found.what
  report = audit(str(path), AuditConfig(methods=False, columns=columns))
  assert (report.scan.form, report.scan.bad, report.seen.rows) == (
    "label",
    0,
    8,
  )
  assert report.count("error") == 0


def test_feedback_that_is_not_read_is_a_warning(put):
  table = [{"prompt": f"p{i}", "completion": "c", "stars": i} for i in range(4)]
  report = audit(put(table), AuditConfig(methods=False))
  (found,) = [f for f in report.findings if f.kind == "unread_feedback"]
  assert "columns='reward=stars'" in found.what


def test_what_a_run_refuses_is_an_error(put):
  table = [
    {"prompt": f"p{i}", "completion": "c", "reward": i * 1e-300}
    for i in range(4)
  ]
  report = audit(put(table), AuditConfig(methods=False))
  assert report.status("error") == 1
  assert "cannot be normalised" in report.findings[0].what
  for value in (1e308, -1e39, 2e38):
    table[2]["reward"] = value
    report = audit(put(table), AuditConfig(methods=False))
    (found,) = [f for f in report.findings if f.kind == "bad_rows"]
    assert "row 2" in found.where[0]


def test_tied_pairs_are_named(put):
  table = [
    {"prompt": f"p{i}", "chosen": f"a{i}", "rejected": "b"}
    | {"chosen_reward": i % 2, "rejected_reward": 0}
    for i in range(4)
  ]
  report = audit(put(table), AuditConfig(methods=False))
  (found,) = [f for f in report.findings if f.kind == "tied_pairs"]
  assert [place[-14:] for place in found.where] == [
    "row 0: both 0",
    "row 2: both 0",
  ] or len(found.where) == 2


@pytest.mark.parametrize("name", ["response", "completion"])
def test_a_test_set_may_have_the_form_s_own_columns(put, name):
  other = [{"prompt": row["prompt"], name: "z", "score": 1} for row in rows(2)]
  held_out = put(other, "held_out.jsonl")
  config = AuditConfig(methods=False, columns=MAPPED.columns, test=held_out)
  report = audit(put(rows()), config)
  assert report.leakage.leaked.count == 2
  assert report.count("error") == 0
