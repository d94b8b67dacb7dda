import json

import pytest

from offalign.audit import AuditConfig, audit
from offalign.audit.findings import Finding
from offalign.audit.report import console, json_form
from offalign.audit.report.page import page
from offalign.errors import Sentence, option, speaking

LABELS = [{"prompt": "p", "completion": "a", "label": 1}]
# By prompt, the mean of rewards is far from the mean of all.
REWARDS = [
  {"prompt": f"p{i // 3}", "completion": f"c{i}", "reward": i}
  for i in range(12)
]
LIMITED = {"tokenizer": "byte", "max_completion": 1}


@pytest.mark.parametrize(
  ("rows", "options", "kind", "names"),
  [
    (LABELS, {}, "bad_rows", ["int_labels", "data.int_labels"]),
    ([{**REWARDS[0], "reward": None}], {}, "bad_rows", ["data.bad_rows=skip"]),
    (REWARDS, {}, "threshold", ["data.label_rule=prompt_mean"]),
    (REWARDS, LIMITED, "cut_completions", ["max_completion=1"]),
  ],
)
def test_options_are_named_as_they_are_given(put, rows, options, kind, names):
  report = audit(put(rows), AuditConfig(methods=False, **options))
  (found,) = [found for found in report.findings if found.kind == kind]

  def says(*where):
    texts = (console.text(report), page(report), *where)
    return json.dumps(json_form.as_json(report)), *texts

  for text in says(str(found)):
    for name in names:
      assert f" {name}" in text
      assert f"--{name}" not in text
  with speaking(lambda name: f"--{name}"):
    for text in says(str(found.spoken())):
      for name in names:
        assert f"--{name}" in text
        assert f" {name}" not in text


def test_a_finding_without_options_is_said_as_it_is():
  finding = Finding("note", "kind", "a --flag of another program", "go on")
  assert finding.spoken() == finding
  named = Finding("note", "kind", Sentence(f"{option('steps', 3)} is set"))
  with speaking(lambda name: f"--cfg.{name}"):
    assert str(named.spoken()) == "note: --cfg.steps=3 is set."
  assert str(named) == "note: steps=3 is set."
