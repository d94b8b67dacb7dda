"""Estimates: numbers of the audit that are not of all the data."""

from offalign.audit.findings import Finding
from offalign.audit.statistics.measures import Measures
from offalign.data.reading.records import count


def findings(measures: Measures) -> list[Finding]:
  """Says which numbers come from a sample, or from a part of the data."""
  found = []
  if not measures.sample.exact:
    found.append(
      Finding(
        "note",
        "sampled",
        "medians, p95 and rank correlations are estimates, from a uniform "
        f"sample of {count(len(measures.sample.rows), 'completion')}",
      )
    )
  if not measures.estimated:
    return found
  return [
    *found,
    Finding(
      "note",
      "estimated",
      f"{count(measures.estimated, 'completion')} beyond what is compared at "
      "once: numbers of prompts, repeats and rewards are of the others",
      "audit a part of the data at a time for exact ones",
      measures.estimated,
    ),
  ]
