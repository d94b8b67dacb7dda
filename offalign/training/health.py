"""What a colleague who watches a run would say: checks of its metrics.

Each check looks at what was logged and gives a sentence, or None. The numbers
that they compare with, and why:

* `FAR` nats: a completion whose log-prob has moved by as much is e^30 times
  more or less likely than to the reference. KL regularisation is to prevent
  that, and published runs stay well below it (Gao et al., arXiv:2210.10760,
  stop at about 20 nats).
* `FALLEN` nats: chosen completions that are e^5 = 150 times less likely than at
  the start. Preference losses lower both sides a little as they part them (Pal
  et al., arXiv:2402.13228; Razin et al., arXiv:2410.08847); that far, the mass
  went to texts that nobody chose.
* `EXPLODED`, `LOST` times the loss of the first line: losses are made for
  values about 1, so a rise by a factor of 10 is no noise; one that has risen by
  1,000 has left the region that its gradient knows the way back from. A first
  loss below `ONE` counts as `ONE`.
* `EXPLAINED` of the first loss and `MOVED` nats: the value explains the rewards
  to a hundredth, and the policy is where it began.
* `OUTLYING` standard deviations of all other rewards: after normalising, what
  the others say is a thousandth of what this one says.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from offalign.data import TokenRows
from offalign.errors import Sentence, option
from offalign.files import write_atomically
from offalign.losses import Loss
from offalign.policy.folder import PREFIX
from offalign.training.metrics import NonFinite

FILE = "health.json"
FAR = 30.0
FALLEN = 5.0
EXPLODED, LOST, ONE = 10.0, 1000.0, 1.0
EXPLAINED, MOVED = 0.01, 0.1
OUTLYING = 1000.0

Line = dict[str, Any]
"""One line of metrics.jsonl: "step", and the metrics of that step."""


class Diverged(NonFinite):
  """The loss is a number still, but so large that it will not come back."""


@dataclasses.dataclass(frozen=True)
class Warned:
  """One warning of a run.

  Attributes:
    step: after which it was given.
    kind: a name for programs, such as "both_falling".
    sentence: what is the matter, and what to do.
  """

  step: int
  kind: str
  sentence: str


def nats(loss: Loss, held: Line) -> dict[str, float]:
  """Mean log-ratios of logged completions to the reference, in nats.

  Args:
    loss: its implicit reward is `scale` times the log-ratio.
    held: held-out metrics.

  Returns:
    "chosen" and "rejected", or "all"; {} for a loss whose implicit reward is
    no sum of log-ratios.
  """
  if loss.average or not loss.scale:
    return {}
  names = {"chosen": "rewards/chosen", "rejected": "rewards/rejected"}
  if PREFIX + names["chosen"] not in held:
    names = {"all": "rewards/mean"}
  return {
    who: held[PREFIX + name] / loss.scale
    for who, name in names.items()
    if PREFIX + name in held
  }


def describe_nats(loss: Loss, held: Line) -> str:
  """The same as words, to be put after the held-out metrics; or ""."""
  found = nats(loss, held)
  if not found:
    return ""
  parts = [f"{who} {value:+.2f}" for who, value in found.items()]
  return f", nats from the reference: {', '.join(parts)}"


def far(lines: Sequence[Line], loss: Loss) -> str | None:
  """Whether the policy has gone far from its reference."""
  found = nats(loss, _last(lines, "eval_loss"))
  worst = max(found, key=lambda who: abs(found[who]), default=None)
  if worst is None or abs(found[worst]) < FAR:
    return None
  what = "logged" if worst == "all" else worst
  return (
    f"the policy is {abs(found[worst]):.0f} nats from its reference on held-out "
    f"{what} completions: it has left what it learnt before. Lower "
    f"{option('optimizer.learning_rate')}, or hold it closer by a larger beta "
    "or tau"
  )


def both_falling(lines: Sequence[Line], loss: Loss) -> str | None:
  """Whether chosen and rejected completions both become unlikely."""
  found = nats(loss, _last(lines, "eval_rewards/chosen"))
  if not found or max(found.values()) > -FALLEN or "chosen" not in found:
    return None
  return (
    "chosen and rejected completions are both less likely than to the "
    f"reference (by {-found['chosen']:.1f} and {-found['rejected']:.1f} nats): "
    "the policy unlearns both, and writes something else. Lower "
    f"{option('optimizer.learning_rate')}"
  )


def misled(lines: Sequence[Line], pairs: int | None) -> str | None:
  """Whether the loss falls while pairs are ranked worse than by chance.

  Args:
    lines: what was logged.
    pairs: how many pairs the accuracy is of; None = not known.
  """
  name = "eval_rewards/accuracies"
  held = [line for line in lines if name in line and "eval_loss" in line]
  if len(held) < 2:
    return None
  first, last = held[0]["eval_loss"], held[-1]["eval_loss"]
  share = held[-1][name]
  if not (share < 0.5 and last < first - 0.01 * abs(first)):
    return None
  chance = ""
  if pairs is not None and abs(share - 0.5) < 1 / math.sqrt(pairs):
    chance = ", which may be chance"
  return (
    f"the held-out loss falls ({first:.4g} to {last:.4g}) while fewer than half "
    f"of the held-out pairs are ranked as the feedback does "
    f"({share:.4g}{of_pairs(share, pairs)}{chance}): a falling loss is no sign "
    f"of learning here. Lower {option('optimizer.learning_rate')}"
  )


def exploded(lines: Sequence[Line]) -> tuple[str | None, bool]:
  """Whether the loss has risen far above where it began.

  Args:
    lines: what was logged.

  Returns:
    The sentence or None, and whether it is beyond recovery: at an evaluation,
    or on two lines of training in a row.
  """
  worst, lost = None, False
  for name, what in (("eval_loss", "held-out loss"), ("loss", "loss")):
    logged = [line for line in lines if name in line]
    if len(logged) < 2:
      continue
    first = max(abs(logged[0][name]), ONE)
    last = logged[-1][name]
    if abs(last) < EXPLODED * first:
      continue
    recent = logged[-1:] if name == "eval_loss" else logged[-2:]
    beyond = all(abs(line[name]) >= LOST * first for line in recent)
    beyond = beyond and (name == "eval_loss" or len(logged) > 2)
    if worst is None or beyond > lost:
      before = [line for line in logged if abs(line[name]) < EXPLODED * first]
      worst = (
        f"the {what} is {last:,.4g} at step {logged[-1]['step']}, and was "
        f"{logged[0][name]:,.4g} at step {logged[0]['step']}: the run diverges. "
        f"Lower {option('optimizer.learning_rate')}, or warm it up for longer; "
        f"the last step of a sound {what} was {before[-1]['step']}"
      )
      lost = beyond
  return worst, lost


def idle(lines: Sequence[Line], loss: Loss, *, has_value: bool) -> str | None:
  """Whether the value explains the rewards and the policy stands still."""
  logged = [line for line in lines if "loss" in line]
  if not has_value or len(logged) < 2:
    return None
  first, last = logged[0]["loss"], logged[-1]["loss"]
  moved = abs(last.get("x", 0)) if isinstance(last, dict) else None
  del moved
  mean = logged[-1].get("rewards/mean")
  if mean is None or not loss.scale or last > EXPLAINED * first:
    return None
  ratios = [abs(mean / loss.scale)]
  ratios += [abs(x) for x in nats(loss, _last(lines, "eval_loss")).values()]
  if max(ratios) > MOVED:
    return None
  return (
    f"the loss is nearly 0 ({last:.2g}) and the policy is where it began "
    f"({max(ratios):.2g} nats): the value network explains the rewards without "
    "it, as it can where a prompt has one completion. Give several completions "
    f"a prompt, or lower {option('optimizer.value_learning_rate')}"
  )


def outlier(rows: TokenRows) -> str | None:
  """Whether one reward is so far off that only it counts."""
  if rows.rewards is None or rows.rewards.size < 3:
    return None
  rewards = rows.rewards.astype(np.float64).ravel()
  at = int(np.abs(rewards - np.median(rewards)).argmax())
  others = np.delete(rewards, at)
  distance = abs(rewards[at] - others.mean())
  # Of float32 rewards, whose last digits are no spread.
  spread = max(others.std(), np.finfo(np.float32).eps * np.abs(others).max())
  if not distance > OUTLYING * spread:
    return None
  row, k = divmod(at, rows.rewards.shape[1])
  where = rows.sources[row][k] if rows.sources else f"row {row}"
  return (
    f"the reward of {where} is more than {OUTLYING:,.0f} standard deviations of "
    "all other rewards away from them, so that only this row counts: correct "
    "it, or leave it out"
  )


def feedback(rows: TokenRows) -> dict[str, str]:
  """What is wrong with the feedback of the training rows, by kind."""
  found = {}
  if rows.labels is not None and len(np.unique(rows.labels)) == 1:
    every = "true" if rows.labels.all() else "false"
    found["one_class"] = (
      f"every label is {every}, so nothing says what sets good completions "
      "apart from bad ones: log both, or train with sft on the good ones"
    )
  if rows.rewards is not None and len(np.unique(rows.rewards)) == 1:
    found["equal_rewards"] = (
      f"all rewards are {rows.rewards.flat[0]:g}: there is nothing to learn"
    )
  apart = outlier(rows)
  if apart is not None:
    found["outlying_reward"] = apart
  return found


def of_pairs(share: float, pairs: int | None) -> str:
  """ " (10 of 12)" for a share of pairs; "" where it is not known of how many.

  Ties count half.
  """
  return "" if pairs is None else f" ({share * pairs:.4g} of {pairs:,})"


class Health:
  """Watches one run: says each thing once, and stops it where all is lost.

  Attributes:
    warned: what was said, in order.
  """

  def __init__(
    self,
    folder: pathlib.Path | None,
    lines: Sequence[Line],
    loss: Loss,
    rows: dict[str, TokenRows],
    say: Callable[[str], None],
    *,
    has_value: bool = False,
    stops: bool = True,
  ):
    """Goes on from what was logged.

    Args:
      folder: the run folder, to have `FILE`; None = nothing is written.
      lines: what was logged up to the step that the run goes on from.
      loss: that trains.
      rows: "train", and "judged" where there are held-out pairs.
      say: prints a sentence.
      has_value: whether a value network is trained.
      stops: whether a loss beyond recovery ends the run.
    """
    self.warned: list[Warned] = []
    self._folder, self._lines = folder, list(lines)
    self._loss, self._rows, self._say = loss, rows, say
    self._has_value, self._stops = has_value, stops
    judged = rows.get("judged")
    self.pairs = None if judged is None else len(judged)

  def begin(self, step: int) -> None:
    """Looks at the feedback that the run trains on."""
    for kind, sentence in feedback(self._rows["train"]).items():
      self._warn(step, kind, sentence)

  def see(self, step: int, metrics: dict[str, float]) -> None:
    """Looks at a line that was logged.

    Raises:
      Diverged: where to go on is pointless.
    """
    lines, loss = self._lines, self._loss
    lines.append({"step": step, **metrics})
    sentence, lost = exploded(lines)
    if lost and self._stops and sentence is not None:
      raise Diverged(
        f"step {step}: {Sentence(sentence)}. "
        f"{Sentence(option('on_divergence', 'warn'))} goes on all the same"
      )
    self._warn(step, "exploded", sentence)
    if loss.trains_rewards:
      return
    self._warn(step, "far", far(lines, loss))
    self._warn(step, "both_falling", both_falling(lines, loss))
    self._warn(step, "misled", misled(lines, self.pairs))
    idle_ = idle(lines, loss, has_value=self._has_value)
    self._warn(step, "idle", idle_)

  def _warn(self, step: int, kind: str, sentence: str | None) -> None:
    if sentence is None or kind in {each.kind for each in self.warned}:
      return
    said = Sentence(sentence)
    self.warned.append(Warned(step, kind, str(said)))
    self._say(f"warning: {sentence}")
    if self._folder is not None:
      found = [dataclasses.asdict(each) for each in self.warned]
      text = json.dumps({"warnings": found}, indent=1) + "\n"
      write_atomically(self._folder / FILE, text)


def _last(lines: Sequence[Line], name: str) -> Line:
  """The last line that has a metric; {} where none has."""
  return next((line for line in reversed(lines) if name in line), {})
