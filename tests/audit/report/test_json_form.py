import json

from offalign.audit.report import json_form


def test_json_is_strict_and_complete(reports):
  for report in reports:
    content = json_form.as_json(report)
    json.dumps(content, allow_nan=False)
    assert len(content["findings"]) == len(report.findings)
  facts = json_form.as_json(reports[0])["facts"]
  assert facts["share_between"] == reports[0].facts.share_between
