"""A comparison in words: the table's cells, Markdown and the console."""

import math
from collections.abc import Sequence

from offalign.compare.result import OUTCOMES, Comparison, Entry
from offalign.compare.scores import MeanScore
from offalign.errors import printable, render
from offalign.policy.log_ratios import NATS

NONE = "–"
RATE = (
  "Win rate against the baseline on the same prompts, ties 1/2, with Wilson's "
  "95% interval over prompts, narrowed where there are ties; beside it the "
  "rate at equal lengths, with a bootstrap interval."
)
SCORE = (
  "Score: the mean of what the judge gives a completion, with its 95% interval "
  "(1.96 standard errors over prompts)."
)
LENGTHS = (
  "Means over completions. Judges often prefer long texts: see the rate at "
  "equal lengths."
)
METRICS = {
  "eval_loss": "held-out loss",
  "eval_rewards/accuracies": "held-out accuracy",
}
"""Held-out metrics that are shown -> their names."""
RESULT_HEAD = (
  "policy",
  "trained by",
  "win rate",
  "at equal lengths",
  "wins",
  "ties",
  "losses",
  "score",
)
LENGTHS_HEAD = ("policy", "characters", "tokens", "unfinished")
TRAINING_HEAD = (
  "policy",
  "step",
  "steps",
  "completions",
  "seconds",
  "nats",
  *METRICS.values(),
)


def result_row(entry: Entry) -> list[str]:
  """The cells under `RESULT_HEAD`."""
  rate = entry.duel.found if entry.duel else None
  outcomes = entry.outcomes
  wins, ties, losses = (
    f"{outcomes.count(name):,}" if outcomes else NONE for name in OUTCOMES[:3]
  )
  plain = NONE if entry.duel else "baseline"
  controlled = NONE
  if rate is not None:
    plain = bracketed(rate.rate, rate.low, rate.high)
    if None not in (rate.length_controlled, rate.length_low, rate.length_high):
      controlled = bracketed(
        rate.length_controlled, rate.length_low, rate.length_high
      )
  return [
    entry.name,
    entry.kind,
    plain,
    controlled,
    wins,
    ties,
    losses,
    score_text(entry.score),
  ]


def lengths_row(entry: Entry) -> list[str]:
  """The cells under `LENGTHS_HEAD`."""
  cut = entry.cuts
  unfinished = NONE
  if cut.unfinished is not None:
    known = cut.completions - cut.unknown
    unfinished = f"{cut.unfinished:,} of {known:,}"
  return [
    entry.name,
    f"{entry.characters:,.1f}",
    NONE if entry.tokens is None else f"{entry.tokens:,.1f}",
    unfinished,
  ]


def training_row(entry: Entry) -> list[str]:
  """The cells under `TRAINING_HEAD`."""
  budget = [entry.budget.get(key) for key in ("steps", "completions")]
  seconds = entry.budget.get("seconds", math.nan)
  nats = ", ".join(f"{who} {x:+.2f}" for who, x in entry.nats.items())
  return [
    entry.name,
    f"{entry.step:,}",
    *(NONE if value is None else f"{value:,.0f}" for value in budget),
    NONE if math.isnan(seconds) else f"{seconds:,.0f}",
    nats or NONE,
    *(
      f"{entry.metrics[key]:.4g}" if key in entry.metrics else NONE
      for key in METRICS
    ),
  ]


def bracketed(
  value: float | None, low: float | None, high: float | None
) -> str:
  """A rate with its interval, "0.750 [0.409, 0.929]"."""
  return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def score_text(score: MeanScore | None) -> str:
  """A mean score with its interval; the mean alone of a single prompt."""
  if score is None:
    return NONE
  if math.isnan(score.low):
    return f"{score.mean:.4g}"
  return f"{score.mean:.4g} [{score.low:.4g}, {score.high:.4g}]"


def lead(found: Comparison) -> str:
  """What was compared on what by whom, in a sentence or two."""
  others = ", ".join(entry.name for entry in found.others)
  drawn = f"temperature {found.drawing.get('temperature', 1.0):g}"
  return (
    f"{others} against {found.baseline.name} on {len(found.prompts):,} prompts "
    f"({found.source}), one completion each at {drawn}. Judge: {found.judge}."
  )


def console(found: Comparison) -> list[str]:
  """A line for each policy that was judged, then what is to be known."""
  lines = []
  for entry in found.others:
    rate = entry.duel.found if entry.duel else None
    said = f"{entry.name} against {found.baseline.name}: "
    if rate is None:
      lines.append(f"{said}no verdict")
      continue
    counts = ", ".join(
      f"{entry.outcomes.count(name):,} {word}"
      for name, word in zip(OUTCOMES, ("won", "tied", "lost"), strict=False)
    )
    lines.append(
      f"{said}win rate {bracketed(rate.rate, rate.low, rate.high)} ({counts})"
    )
  for entry in found.entries:
    if entry.score is not None:
      lines.append(f"{entry.name}: mean score {score_text(entry.score)}")
  return lines


def markdown(found: Comparison) -> str:
  """The tables and notes as Markdown."""
  parts = [
    "# Comparison",
    lead(found),
    "## Results",
    table(RESULT_HEAD, [result_row(entry) for entry in found.entries]),
    RATE + (f" {SCORE}" if found.baseline.score else ""),
    "## Lengths",
    LENGTHS,
    table(LENGTHS_HEAD, [lengths_row(entry) for entry in found.entries]),
    "## Training",
    table(TRAINING_HEAD, [training_row(entry) for entry in found.entries]),
    NATS,
  ]
  if found.said:
    notes = "\n".join(f"* {_plain(render(each))}" for each in found.said)
    parts += ["## Notes", notes]
  parts[1] = _plain(parts[1])
  return printable("\n\n".join(parts)) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table of Markdown, whose cells make no HTML, link or column."""
  lines = [
    "| " + " | ".join(head) + " |",
    "| :--- |" + " ---: |" * (len(head) - 1),
  ]
  for row in rows:
    cells = [_plain(cell).replace("|", "\\|") for cell in row]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _plain(text: str) -> str:
  """Text in one line, of which a viewer makes no HTML or link."""
  text = " ".join(text.split())
  return text.replace("<", "&lt;").replace("](", "]\\(")
