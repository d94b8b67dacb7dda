from offalign.audit.report import console


def test_text_has_every_finding_and_method(reports):
  for report in reports:
    shown = console.text(report)
    for finding in report.findings:
      assert str(finding) in shown
    assert ("methods that" in shown) == (report.methods is not None)
