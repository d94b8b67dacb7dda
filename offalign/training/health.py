"""What a colleague who watches a run would say: checks of its metrics.

Each check looks at what was logged and gives a sentence, or None. The numbers
that they compare with, and why:

* `FAR` nats: a completion whose log-prob has moved by as much is e^30 times
  more or less likely than to the reference. KL regularisation is to prevent
  that, and published runs stay well below it (Gao et al., arXiv:2210.10760,
  stop at about 20 nats). So it is for the estimate on the policy's own samples.
* `FAR_A_TOKEN` nats a token of those samples, for completions too short to be
  `FAR`: each token is e times as likely as to the reference, of the 2 to 3 nats
  that a language model finds in a token of text altogether.
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

Outlying rewards are those of `offalign.data.reading.outliers`.

Above 300 lines, since the checks share these numbers and what they say.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from offalign.data import TokenRows
from offalign.data.reading import outliers
from offalign.data.reading.records import count
from offalign.errors import Sentence, option
from offalign.files import write_atomically
from offalign.losses import Loss
from offalign.policy.folder import HEALTH as FILE
from offalign.policy.log_ratios import nats
from offalign.training import over_optimised
from offalign.training.metrics import NonFinite
from offalign.training.own_samples import ERROR, KL, PER_TOKEN, UNFINISHED

FAR = 30.0
FAR_A_TOKEN = 1.0
FALLEN = 5.0
EXPLODED, LOST, ONE = 10.0, 1000.0, 1.0
EXPLAINED, MOVED = 0.01, 0.1

_NAMED = 5  # rows that a sentence names
_KEPT = 100  # of the first lines, and of the last

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


def far(found: dict[str, float]) -> str | None:
  """Whether the policy has gone far from its reference.

  Args:
    found: see `nats`.
  """
  worst = max(found, key=lambda who: abs(found[who]), default=None)
  if worst is None or abs(found[worst]) < FAR:
    return None
  what = "logged" if worst == "all" else worst
  return (
    f"the policy is {abs(found[worst]):.0f} nats from its reference on "
    f"held-out {what} completions: it has left what it learnt before. Lower "
    f"{option('optimizer.learning_rate')}, or hold it closer by a larger beta "
    "or tau"
  )


def far_samples(held: Line) -> str | None:
  """Whether what the policy writes itself is far from its reference.

  Args:
    held: held-out metrics with those of `offalign.training.own_samples`, or
      without.
  """
  if KL not in held:
    return None
  if held[KL] < FAR and held[PER_TOKEN] < FAR_A_TOKEN:
    return None
  return (
    f"the policy is {own_samples(held)} from its reference on completions "
    "that it writes itself: it has left what it learnt before. Lower "
    f"{option('optimizer.learning_rate')}, or hold it closer by a larger beta "
    "or tau"
  )


def own_samples(held: Line) -> str:
  """The estimate on the policy's own samples, with its standard error."""
  error = f" ± {held[ERROR]:.2f}" if ERROR in held else ""
  cut = held[UNFINISHED]
  unfinished = f", {cut:.0%} unfinished" if cut else ""
  a_token = f"{held[PER_TOKEN]:.3f} a token{unfinished}"
  return f"{held[KL]:.2f}{error} nats ({a_token})"


def both_falling(found: dict[str, float]) -> str | None:
  """Whether chosen and rejected completions both become unlikely.

  Args:
    found: see `nats`.
  """
  if "chosen" not in found or max(found.values()) > -FALLEN:
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
    f"the held-out loss falls ({first:.4g} to {last:.4g}) while fewer than "
    "half of the held-out pairs are ranked as the feedback does "
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
        f"the {what} is {_short(last)} at step {logged[-1]['step']}, and was "
        f"{_short(logged[0][name])} at step {logged[0]['step']}: the run "
        "diverges. "
        f"Lower {option('optimizer.learning_rate')}, or warm it up for longer; "
        f"the last step of a sound {what} was {before[-1]['step']}"
      )
      lost = beyond
  return worst, lost


def idle(
  lines: Sequence[Line], scale: float, found: dict[str, float]
) -> str | None:
  """Whether the value explains the rewards and the policy stands still.

  Args:
    lines: what was logged of a loss with a value network.
    scale: implicit reward per nat.
    found: see `nats`.
  """
  logged = [line for line in lines if "loss" in line]
  if len(logged) < 2:
    return None
  first, last = logged[0]["loss"], logged[-1]["loss"]
  mean = logged[-1].get("rewards/mean")
  if mean is None or last > EXPLAINED * first:
    return None
  ratios = [abs(mean / scale), *map(abs, found.values())]
  if max(ratios) > MOVED:
    return None
  return (
    f"the loss is nearly 0 ({last:.2g}) and the policy is where it began "
    f"({max(ratios):.2g} nats): the value network explains the rewards without "
    "it, as it can where a prompt has one completion. Give several completions "
    f"a prompt, or lower {option('optimizer.value_learning_rate')} (see the "
    "docs on theory)"
  )


def outlying(
  rows: TokenRows, what: Literal["reward", "margin"] = "reward"
) -> str | None:
  """Whether some rewards, as logged, are so far off that only they count.

  Args:
    rows: what is trained on.
    what: which of their columns is looked at.
  """
  values = rows.rewards
  if what == "margin":
    values = None if rows.margins is None else rows.margins[:, None]
  if values is None:
    return None
  low, high = outliers.bounds(values.ravel())
  far_off = np.argwhere((values < low) | (values > high))
  if not len(far_off):
    return None
  named = [f"{rows.sources[i][k]}: {values[i, k]:g}" for i, k in far_off]
  more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
  return (
    f"{count(len(named), what)} ({', '.join(named[:_NAMED])}{more}) more "
    f"than {outliers.FAR:,.0f} standard deviations from all others, so that "
    "the others count for nothing: correct these rows, or leave them out"
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
    stops: bool = True,
  ):
    """Goes on from what was logged.

    Args:
      folder: the run folder, to have `FILE`; None = nothing is written.
      lines: what was logged up to the step that the run goes on from.
      loss: that trains.
      rows: "train", and "judged" where there are held-out pairs.
      say: prints a sentence.
      stops: whether a loss beyond recovery ends the run.
    """
    self.warned = [] if folder is None else _known(folder, lines)
    self._folder, self._lines = folder, list(lines)
    self._loss, self._rows, self._say = loss, rows, say
    self._stops = stops
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
    lines.append({**metrics, "step": step})
    del lines[_KEPT:-_KEPT]  # checks look at the first and the last
    sentence, lost = exploded(lines)
    if lost and self._stops and sentence is not None:
      raise Diverged(
        Sentence(
          f"step {step}: {sentence} ({option('on_divergence', 'warn')} goes on "
          "all the same)"
        )
      )
    self._warn(step, "exploded", sentence)
    if loss.trains_rewards:
      return
    found = self.nats(_last(lines, "eval_loss"))
    if loss.has_reference:
      self._warn(step, "far", far(found))
      self._warn(step, "far_samples", far_samples(_last(lines, KL)))
    self._warn(step, "both_falling", both_falling(found))
    self._warn(step, "misled", misled(lines, self.pairs))
    self._warn(step, "over_optimised", over_optimised.warning(lines))
    if "values" in loss.needs:
      self._warn(step, "idle", idle(lines, loss.scale, found))

  def first(self, step: int, loss: float) -> None:
    """Takes the loss of one step, where none was logged before."""
    if not any("loss" in line for line in self._lines):
      self._lines.append({"step": step, "loss": loss})

  def nats(self, held: Line) -> dict[str, float]:
    """See `nats`."""
    return nats(self._loss, held, judged=self.pairs is not None)

  def describe(self, held: Line) -> str:
    """The nats from the reference, to be put after held-out metrics; or ""."""
    parts = [f"{who} {x:+.2f}" for who, x in self.nats(held).items()]
    said = f", nats from the reference: {', '.join(parts)}" if parts else ""
    if KL in held:
      said += f", KL on own samples {own_samples(held)}"
    return said

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


def _short(x: float) -> str:
  return f"{x:,.0f}" if 100 <= abs(x) < 1e15 else f"{x:.4g}"


def _last(lines: Sequence[Line], name: str) -> Line:
  """The last line that has a metric; {} where none has."""
  return next((line for line in reversed(lines) if name in line), {})


def _known(folder: pathlib.Path, lines: Sequence[Line]) -> list[Warned]:
  """What was said of the steps that a run goes on from."""
  upto = lines[-1]["step"] if lines else -1
  return [each for each in read(folder) if each.step <= upto]


def read(folder: pathlib.Path) -> list[Warned]:
  """The warnings in the `FILE` of a run folder; [] where it has none."""
  try:
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return [Warned(**each) for each in found["warnings"]]
  except (OSError, ValueError, KeyError, TypeError):
    return []  # it is written again
