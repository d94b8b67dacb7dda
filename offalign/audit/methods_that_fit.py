"""Methods that the data can train: a verdict on each registered loss.

The registry says each method's kind of feedback and columns, so a method that
somebody else registers is judged like the others. The registry needs jax and
is imported on the first call.
"""

import dataclasses
import typing
from typing import TYPE_CHECKING, Literal

from offalign.audit.findings import percent
from offalign.audit.statistics.facts import Facts
from offalign.data.reading.records import count

if TYPE_CHECKING:
  from offalign.losses import Loss

Verdict = Literal["fits", "converts", "no"]
# Columns that come from rewards and from labels, as `data.view` takes them.
_REWARDS = frozenset({"rewards", "reward_mean"})
_LABELS = frozenset({"labels", "desirable_length_mean"})
VERDICTS: tuple[Verdict, ...] = ("fits", "converts", "no")
MEANING: dict[Verdict, str] = {
  "fits": "read this feedback as it is",
  "converts": "read it after a conversion",
  "no": "cannot use it",
}
"""What methods of each verdict do, after "methods that"."""


@dataclasses.dataclass(frozen=True)
class Fit:
  """Verdict on methods for the data.

  Attributes:
    verdict: "fits": the feedback is what they read. "converts": it is turned
      into that. "no": it cannot be.
    why: the reason.
    methods: spec strings.
  """

  verdict: Verdict
  why: str
  methods: tuple[str, ...]


def fits(facts: Facts) -> tuple[Fit, ...]:
  """Judges every method, and those of its options that change what it reads.

  Returns:
    The best verdicts first; methods of one reason together.
  """
  found: dict[tuple[Verdict, str], list[str]] = {}
  for loss in variants():
    found.setdefault(judge(loss, facts), []).append(str(loss))
  result = [Fit(v, why, tuple(names)) for (v, why), names in found.items()]
  return tuple(sorted(result, key=lambda fit: VERDICTS.index(fit.verdict)))


def variants() -> list["Loss"]:
  """Lists every registered loss, with each option that changes its feedback."""
  from offalign import losses

  found = []
  for name in losses.names():
    default = losses.get(name)
    seen = {_reads(default)}
    found.append(default)
    hints = typing.get_type_hints(default.definition.fn)
    for option in default.options:
      if typing.get_origin(hints[option]) is not Literal:
        continue
      for value in typing.get_args(hints[option]):
        try:
          loss = losses.get(name, **{option: value})
        except ValueError:
          continue  # it takes further options
        if _reads(loss) not in seen:
          seen.add(_reads(loss))
          found.append(loss)
  return found


def _reads(loss: "Loss") -> tuple[str, frozenset[str]]:
  """Returns a loss's kind of feedback, and the columns made from it."""
  return loss.kind.value, (_REWARDS | _LABELS) & set(loss.needs)


def judge(loss: "Loss", facts: Facts) -> tuple[Verdict, str]:
  """Returns the verdict on a loss, and why; it agrees with `data.view`."""
  kind, columns = _reads(loss)
  margins = "margins" in loss.needs
  rewards, labels = bool(columns & _REWARDS), bool(columns & _LABELS)
  if "behaviour_logps" in loss.needs and not facts.logged:
    return "no", "no column 'behaviour_logps'"
  if "behaviour_token_logps" in loss.needs and not facts.logged_tokens:
    return "no", "no columns 'completion_ids' and 'logprobs'"
  alone = bool(facts.rated_spans) and not facts.feedback
  if kind == "single" and alone and columns:
    if "token_weights" in loss.needs:
      return "fits", f"{count(facts.rated_spans, 'rated span')}, each a row"
    return "no", "parts of completions are rated, not whole ones"
  if "token_weights" in loss.needs and not facts.token_weights:
    return "no", "no spans with a weight, and no 'token_weights'"
  if "token_rewards" in loss.needs and not facts.token_rewards:
    return "no", "no spans with a reward, and no 'token_rewards'"
  if kind == "single" and not columns and "behaviour_token_logps" in loss.needs:
    return "fits", "reads no feedback: the reference is the teacher"
  alike = facts.ranked and not facts.pairs
  rated = facts.rewards and rewards and kind != "group"
  if alike and not rated and (columns or kind != "single"):
    return "no", "every pair is one text twice"
  if kind == "pair":
    return _pairs(facts, rewards, margins)
  if kind == "group":
    return _groups(facts, rewards, labels)
  return _singles(facts, columns, loss.needs_value)


_NOTHING = "nothing says which completions are good"


def _pairs(facts: Facts, rewards: bool, margins: bool) -> tuple[Verdict, str]:
  if facts.ranked:
    if facts.rewards or facts.margins or not (rewards or margins):
      return "fits", f"{count(facts.pairs, 'pair')}, as they are"
    return "no", "pairs without margins or scores: by how much is not known"
  if not facts.feedback:
    return "no", _NOTHING
  if margins and not facts.rewards:
    return "no", "labels say which is better, and not by how much"
  if not facts.several:
    return "no", "one completion a prompt: nothing to compare it with"
  if not facts.open and not rewards:
    return "no", f"no prompt has two different {facts.value}s"
  said = f"pairs are made in {count(facts.open, 'prompt')}"
  closed = facts.several - facts.open
  if closed:
    kept = "differ by nothing" if rewards else "give no pair"
    said += f"; {closed:,} with one {facts.value} for all {kept}"
  return "converts", said


def _groups(facts: Facts, rewards: bool, labels: bool) -> tuple[Verdict, str]:
  if not facts.feedback:
    return "no", _NOTHING
  if not facts.several:
    return "no", "one completion a prompt: no group"
  said = f"{count(facts.several, 'prompt')} of several completions"
  closed = facts.several - facts.open
  if closed:
    said += f", of which {closed:,} have one {facts.value} for all"
  if facts.ranked:
    return "converts", f"groups of the pairs' completions: {said}"
  if (rewards and not facts.rewards) or (labels and not facts.labels):
    other = "label" if rewards else "reward"
    return "converts", f"{said}; {facts.value}s are turned into {other}s" if (
      other != facts.value
    ) else f"{said}; {facts.value}s 1 and 0"
  return "fits", said


def _singles(
  facts: Facts, columns: frozenset[str], value: bool
) -> tuple[Verdict, str]:
  labels = bool(columns & _LABELS)
  rewards = bool(columns & _REWARDS)
  if labels:
    return _labels(facts)
  if "reward_mean" in columns and (facts.rewards or facts.labels):
    said = f"{facts.value}s against the batch's mean{_flipped(facts)}"
    return "fits" if facts.rewards else "converts", said
  if not rewards:
    if facts.feedback:
      return "converts", "reads no feedback: good and bad are imitated alike"
    return "fits", f"{count(facts.completions, 'demonstration')}"
  if not facts.feedback:
    return "no", _NOTHING
  between = _between(facts, value)
  if facts.rewards:
    return "fits", f"rewards as logged{between}"
  if facts.labels:
    return "converts", f"labels as rewards 1 and 0{between}"
  return "converts", "a completion's share of its comparisons won is its reward"


def _between(facts: Facts, value: bool) -> str:
  share = facts.share_between
  if share is None:
    return ""
  said = f"; {percent(share, 1)} of their variance is between prompts, "
  return said + (
    "which the value function takes out"
    if value
    else "which stays in the loss as noise"
  )


def _labels(facts: Facts) -> tuple[Verdict, str]:
  if facts.labels:
    return "fits", f"labels as given, {percent(facts.positive or 0, 1)} true"
  if facts.ranked:
    return "converts", "true = won more than half of its comparisons"
  if not facts.rewards:
    return "no", _NOTHING
  return "converts", f"labels by a threshold on the reward{_flipped(facts)}"


def _flipped(facts: Facts) -> str:
  if not facts.flipped:
    return ""
  return (
    f"; one for all puts {percent(facts.flipped, 1)} of the completions on "
    "another side than their prompt's own mean does"
  )
