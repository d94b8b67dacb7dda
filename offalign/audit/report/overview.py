"""Overview of an audit: names and values, the same in text and page."""

from offalign.audit.findings import percent
from offalign.audit.run import Report
from offalign.audit.scan.files import described
from offalign.data.reading import proposals
from offalign.data.reading.records import count
from offalign.errors import spoken

FEW_SIZES = 4
"""So many different numbers of completions are named one by one."""


def overview(report: Report) -> list[tuple[str, str]]:
  """Summarises the data as (name, value) rows."""
  met, seen, measures = report.scan, report.seen, report.measures
  lines = [("data", described(met)), ("form", met.form or "not known")]
  lines.append(("rows", f"{met.rows:,}"))
  if met.bad:
    lines.append(("bad rows", f"{met.bad:,}"))
  if met.blank:
    lines.append(("blank lines", f"{met.blank:,}"))
  if met.columns:
    lines.append(("columns read", ", ".join(met.columns)))
  if met.unused:
    names = ", ".join(proposals.shown(met.unused))
    lines.append(("columns not read", names))
  if met.unrated:
    lines.append(("not rated, left out", f"{met.unrated:,}"))
  lines += [("how", spoken(sentence)) for sentence in met.said]
  if measures is None or report.facts is None:
    return lines
  if seen.conversations:
    lines.append(("conversations", f"{seen.conversations:,}"))
  as_tokens = ""
  if report.equal is not None and report.equal.merged:
    as_tokens = f" ({report.equal.found.prompts:,} as tokens)"
  lines.append(("prompts", f"{measures.groups.prompts:,}{as_tokens}"))
  lines.append(("completions", f"{seen.completions:,}"))
  lines.append(("completions of a prompt", per_prompt(report)))
  if report.facts.positive is not None:
    good, bad = measures.positive, measures.negative
    share = percent(good, good + bad)
    lines.append(("labels", f"{good:,} true, {bad:,} false ({share} true)"))
  if report.facts.rated_spans:
    lines.append(("rated spans", f"{report.facts.rated_spans:,}"))
  groups, between = measures.groups, report.facts.share_between
  if between is not None:
    error = report.facts.share_error
    plus = "" if error is None else f" ± {percent(error, 1)}"
    lines.append(
      (
        f"{report.facts.value} variance between prompts",
        f"{percent(between, 1)}{plus}",
      )
    )
  if groups.pairs:
    lines.append(
      (
        f"ties of {report.facts.value}",
        f"{percent(groups.ties, groups.pairs)} of {groups.pairs:,} pairs of "
        "completions of a prompt",
      )
    )
  if groups.several:
    value, n = report.facts.value, groups.several
    lines.append(
      (
        f"a prompt's best, median {value}",
        f"{groups.best / n:.3f}, {groups.middle / n:.3f} on average; standard "
        f"deviation {groups.spread / n:.3f}",
      )
    )
  return lines + _lengths(report)


def _lengths(report: Report) -> list[tuple[str, str]]:
  measures, seen, lines = report.measures, report.seen, []
  assert measures is not None
  assert report.facts is not None
  value_name = report.facts.value
  for name, value in (
    (f"length and {value_name}", measures.length_correlation),
    (
      f"length and {value_name} in a prompt",
      measures.groups.length_correlation,
    ),
  ):
    if value is not None:
      lines.append((name, f"correlation {value:+.2f}"))
  if seen.ranked and seen.rows:
    lines.append(
      (
        "chosen is longer",
        f"in {percent(seen.longer, seen.rows)} of the pairs, as long in "
        f"{percent(seen.as_long, seen.rows)} (words)",
      )
    )
    if report.equal is not None:
      equal = report.equal
      lines.append(
        (
          "chosen has more tokens",
          f"in {percent(equal.longer, seen.rows)} of the pairs, as many in "
          f"{percent(equal.as_long, seen.rows)}",
        )
      )
  leak = report.leakage
  if leak is not None:
    lines.append(
      (
        "test prompts in the data",
        f"{leak.leaked.count:,} of {leak.prompts:,}, and "
        f"{leak.loosely.count:,} more but for case and white space",
      )
    )
  return lines


def per_prompt(report: Report) -> str:
  """Completions a prompt: "4", "2 (9 prompts), 4 (2)" or "1 to 6, median 4"."""
  assert report.measures is not None
  sizes = report.measures.groups.sizes
  if len(sizes) == 1:
    return f"{next(iter(sizes))}"
  if len(sizes) <= FEW_SIZES:
    first, *rest = sorted(sizes)
    said = [f"{first} ({count(sizes[first], 'prompt')})"]
    return ", ".join([*said, *(f"{k} ({sizes[k]:,})" for k in rest)])
  total, half = sum(sizes.values()), 0
  for size in sorted(sizes):
    half += sizes[size]
    if 2 * half >= total:
      return f"{min(sizes)} to {max(sizes)}, median {size}"
  return "none"
