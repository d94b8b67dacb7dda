import re

import html_checks

from offalign.audit.report import overview
from offalign.audit.report.page import page


def test_pages_are_whole_and_say_what_the_text_says(reports):
  for report in reports:
    found = html_checks.check(page(report))
    shown = re.sub(r"\s+", " ", found.text)
    for finding in report.findings:
      assert finding.what[1:] in shown
      for place in finding.where:
        assert place in shown
    for name, value in overview.overview(report):
      assert name in shown
      assert value in shown
