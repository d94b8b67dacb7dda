"""The audit as JSON."""

import dataclasses
import math
from typing import Any

from offalign.audit.checks.duplicates import Repeats
from offalign.audit.report.tables import TOKEN_HEAD, token_rows
from offalign.audit.run import Report
from offalign.audit.statistics.measures import Measures
from offalign.errors import spoken


def as_json(report: Report) -> dict[str, Any]:
  """Returns the whole report for programs; unknown values are null."""
  met, seen, measures = report.scan, report.seen, report.measures
  content: dict[str, Any] = {
    "path": report.path,
    "files": met.names,
    "form": met.form,
    "columns": list(met.columns),
    "columns_not_read": list(met.unused),
    "rows": met.rows,
    "bad_rows": met.bad,
    "unrated_rows": met.unrated,
    "how": [spoken(sentence) for sentence in met.said],
    "blank_lines": met.blank,
    "conversations": seen.conversations,
    "completions": seen.completions,
    "findings": [
      dataclasses.asdict(found.spoken()) for found in report.findings
    ],
    "methods": None
    if report.methods is None
    else [dataclasses.asdict(fit) for fit in report.methods],
  }
  repeats = report.repeats
  if measures and repeats and report.facts:
    content["facts"] = dataclasses.asdict(report.facts)
    content["chosen_longer"] = seen.longer if seen.ranked else None
    content |= _numbers(measures, repeats)
  if report.equal is not None:
    equal, found = report.equal, report.equal.found
    content["as_tokens"] = {
      "prompts": found.prompts,
      "rows_alike": found.alike,
      "contrary": found.contrary,
      "duplicate_rows": equal.repeats.count,
      "chosen_longer": equal.longer if found.ranked else None,
    }
  if report.leakage is not None:
    leak = report.leakage
    content["test"] = {
      "prompts": leak.prompts,
      "leaked": leak.leaked.count,
      "leaked_loosely": leak.loosely.count,
      "answers": leak.answers,
    }
  if rows := token_rows(report):
    content["tokens"] = {
      row[0]: {
        name: int(x.replace(",", ""))
        for name, x in zip(TOKEN_HEAD[1:], row[1:], strict=True)
      }
      for row in rows
    }
  return _finite(content)


def _numbers(measures: Measures, repeats: Repeats) -> dict[str, Any]:
  groups = measures.groups
  several = groups.several or math.nan
  return {
    "completions_per_prompt": {
      str(k): groups.sizes[k] for k in sorted(groups.sizes)
    },
    "values": [dataclasses.asdict(s) for s in measures.values],
    "words": [dataclasses.asdict(s) for s in measures.words],
    "within_prompt": {
      "best": groups.best / several,
      "median": groups.middle / several,
      "std": groups.spread / several,
      "least_std": groups.least_spread,
    },
    "length_correlation": measures.length_correlation,
    "length_correlation_within_prompts": groups.length_correlation,
    "repeats": {
      "rows": repeats.rows.count,
      "texts": repeats.texts,
      "conflicts": repeats.conflicts.count,
      "contradictions": repeats.contradictions.count,
      "near_prompts": repeats.near.count,
    },
    "estimated": measures.estimated,
  }


def _finite(value: Any) -> Any:
  """Replaces infinities and NaN, which JSON does not have, by null."""
  if isinstance(value, float) and not math.isfinite(value):
    return None
  if isinstance(value, dict):
    return {k: _finite(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(v) for v in value]
  return value
