"""The words of the report, for the page and for Markdown."""

from benchmarks.sentiment.gains import Gain
from benchmarks.sentiment.results import Outcome, Results
from benchmarks.sentiment.sizes import METHODS, MOST_NATS, RANK, WARMUP
from benchmarks.sentiment.suite import farthest
from offalign.judges.win_rates import WinRate
from offalign.leaderboard import Row
from offalign.training import health

TITLE = "SmolLM2 learns to please a lexicon"
NONE = "–"
_SIDES = ("chosen", "rejected")
HEAD = (
  "policy",
  "rate",
  "runs",
  "mean score",
  "gain",
  "win rate",
  "KL",
  "moved",
  "distinct",
  "reload",
)
NOTES = (
  "Mean score and gain: of one completion of each test opening by each run. "
  "The gain is over the mean of both draws of the base model, the same "
  "openings on both sides; brackets have the 95% interval by bootstrap over "
  "openings, runs and draws. Three runs are few, so that the interval is the "
  "least that it can be.",
  "Win rate: how often the completion scores higher than a base model's of "
  "the same opening, against both draws, ties 1/2; Wilson's 95% interval over "
  "openings.",
  "KL: nats a completion on the policy's own samples, with the standard error. "
  "Moved: the mean log-ratio of logged completions that were held out, chosen "
  "or rejected, whichever is the larger without its sign, of the farthest run; "
  "nats a completion.",
  "Distinct: the share of pairs of adjacent words that are no repeats within a "
  "run's completions; one that falls far below the base model's writes the "
  "same phrases everywhere. Reload: the greatest difference between the "
  "log-probs of the product and those of transformers, which loaded the "
  "export of the first run; nats a completion.",
)
SWEEP_HEAD = ("policy", "rate", "mean score", "moved", "verdict")


def lead(found: Results) -> str:
  """What was done, in a paragraph."""
  sizes = found.sizes
  openings = len({x.prompt for x in found.log})
  base = ", ".join(sorted({row.model for row in found.rows}))
  judge = (
    "VADER, a lexicon that knows words and no sense, scores each from -1 to 1"
    if sizes.words
    else "the share of vowels is the score, since the model writes no words"
  )
  return (
    f"The base model ({base or 'not trained yet'}) completed {openings} "
    f"neutral openings, {len(found.log)} completions of at most "
    f"{sizes.tokens} tokens; {judge}. KTO, DRO-V and DPO were trained on these "
    f"samples, {sizes.steps} updates of {sizes.batch} completions, as LoRA "
    "adapters and as all weights, each straight from the base model. All "
    f"figures are of {sizes.test} openings that nothing was trained on or "
    "chosen by."
  )


def verdicts(found: Results) -> list[str]:
  """What the figures say, a sentence for each cell, the base model first."""
  one, two = (sum(x.reward for x in each) / len(each) for each in found.bases)
  said = [
    f"The base model against itself: {one:.3f} and {two:.3f} in its two draws, "
    f"the second {found.null} over the first."
  ]
  for each in found.outcomes:
    said.append(
      f"{each.cell.label}: {_compared(each, found.null)}, {each.gain} over the "
      f"base model, at {each.kl[0]:z.1f} nats.{_warned(each)}"
    )
  return said


def _warned(each: Outcome) -> str:
  """How many runs warned that chosen and rejected completions both fell."""
  moved = [
    {who: row.metrics.get(f"log_ratio/{who}", 0.0) for who in _SIDES}
    for row in each.rows
  ]
  count = sum(health.both_falling(one) is not None for one in moved)
  if not count:
    return ""
  return (
    f" {count} of {len(each.rows)} runs warned that logged completions, chosen "
    f"and rejected alike, had become less likely by more than "
    f"{health.FALLEN:g} nats: the policy writes something else than either."
  )


def _compared(each: Outcome, null: Gain) -> str:
  verdict = each.gain.verdict
  if verdict == "better" and each.gain.mean <= abs(null.mean):
    return "no larger a gain than between two draws of the base model"
  return verdict


def rows(found: Results) -> list[tuple[str, ...]]:
  """The table's rows: the base model's draws, then the cells."""
  one, two = found.bases
  said = [
    (
      "base, first draw",
      NONE,
      NONE,
      f"{sum(x.reward for x in one) / len(one):.3f}",
      NONE,
      NONE,
      NONE,
      NONE,
      f"{found.base_distinct:.2f}",
      NONE,
    ),
    (
      "base, second draw against it",
      NONE,
      NONE,
      f"{sum(x.reward for x in two) / len(two):.3f}",
      str(found.null),
      _win(found.null_win),
      NONE,
      NONE,
      f"{found.base_distinct:.2f}",
      NONE,
    ),
  ]
  return [*said, *map(_row, found.outcomes)]


def _row(each: Outcome) -> tuple[str, ...]:
  reload = each.reload
  return (
    each.cell.label,
    f"{each.rows[0].metrics['rate']:g}",
    str(len(each.rows)),
    f"{each.mean:.3f}",
    str(each.gain),
    _win(each.win),
    f"{each.kl[0]:z.1f} ± {each.kl[1]:.1f}",
    f"{each.farthest:.1f}",
    f"{each.distinct:.2f}",
    NONE if reload is None else f"{reload:.1e}",
  )


def _win(found: WinRate) -> str:
  return f"{found.rate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def sweep_rows(found: Results) -> list[tuple[str, ...]]:
  """The sweep's rows: every rate, and which one was chosen."""
  best = {
    row.label for each in found.outcomes if (row := found.chosen(each.cell))
  }
  return [_swept(row, row.label in best) for row in found.sweep]


def _swept(row: Row, best: bool) -> tuple[str, ...]:
  label, _, rate = row.label.rpartition(", ")
  if row.status != "ok":
    return label, rate, NONE, NONE, "failed"
  moved = farthest(row)
  why = "chosen" if best else ""
  if moved >= MOST_NATS:
    why = f"{MOST_NATS:g} nats or more"
  return label, rate, f"{row.metrics['mean_score']:.3f}", f"{moved:.1f}", why


def sweep_note(found: Results) -> str:
  """How a rate was chosen, and where the range may have been too short."""
  at_end = [
    each.cell.label
    for each in found.outcomes
    if each.rows[0].metrics["rate"] == max(found.sizes.rates(each.cell))
  ]
  ends = ""
  if at_end:
    every = len(at_end) == len(found.outcomes)
    whom = "every policy" if every else "; ".join(at_end)
    ends = (
      f" The highest rate of the range was chosen for {whom}: a higher one "
      "might do better."
    )
  return (
    f"One run for each rate, judged on {found.sizes.validation} validation "
    "openings, one completion each: the highest mean score wins, among the "
    f"rates whose policies moved less than {MOST_NATS:g} nats. The run of the "
    "chosen rate is the first of the runs above. The standard error of such a "
    "mean is about .07, so that neighbouring rates are hardly told apart."
    f"{ends}"
  )


def limits(found: Results) -> list[str]:
  """What the report does not say."""
  return [
    "Runs differ in the order of the data and in LoRA's first weights; all "
    "share one log of samples, so the intervals leave out what another log "
    "would change.",
    "Each method has one setting beside its rate, and DRO-V's value one rate "
    f"({found.sizes.value:g}), so that the table does not rank the methods.",
    "The lexicon is both the teacher and the judge: the table says that "
    "policies learn what they are paid for, and not that their texts are good. "
    "Read the samples.",
  ]


def settings(found: Results) -> list[str]:
  """How the methods were trained."""
  sizes = found.sizes
  return [
    "Losses: "
    + "; ".join(f"{method.name} is {method.loss}" for method in METHODS)
    + ". KTO's thumbs are up where the score is above the log's mean; a pair "
    "of DPO is the best and the worst completion of an opening, where they "
    "differ enough; DRO-V has a value network of its own, at a rate of "
    f"{sizes.value:g}.",
    f"Adam, {WARMUP} updates of warm-up; LoRA of rank {RANK} on all linear "
    f"maps, alpha {2 * RANK}; the same number of completions in every update, "
    "two for a pair.",
  ]


def environment(found: Results) -> list[str]:
  """With what it was made."""
  made = [*found.rows, *found.sweep]
  packages = dict.fromkeys(
    ", ".join(f"{k} {v}" for k, v in row.versions.items()) for row in made
  )
  # The sweep's run of the chosen rate is the first of the others, too.
  runs = {
    (*r.label.split(", ")[:2], r.metrics.get("rate"), r.seed): r for r in made
  }
  minutes = sum(row.seconds["wall"] for row in runs.values()) / 60
  busy = sum(row.seconds["cpu"] for row in runs.values()) / 60
  return [
    f"Command: {found.command}",
    f"Training took {minutes:.0f} minutes for {len(runs)} runs, {busy:.0f} of "
    "processor time; samples and scores come on top.",
    *packages,
    "Revision: " + ", ".join(dict.fromkeys(row.revision for row in made)),
  ]
