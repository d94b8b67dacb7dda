"""The curves that a run has logged, a figure each."""

import functools
import math
import pathlib

from markupsafe import Markup

from offalign.losses import Loss
from offalign.pages import curves
from offalign.policy import folder as folders
from offalign.policy.log_ratios import NATS, nats

_LOSSES = {"loss": "training", "eval_loss": "held out"}
_ACCURACIES = {
  "rewards/accuracies": "training",
  "eval_rewards/accuracies": "held out",
}
_SCORES = {
  "objective/scores": "samples",
  "eval_score": "held-out prompts",
  "eval_judge/score": "held-out prompts, by the judge beside",
}
_KL = {"objective/kl": "samples", "eval_objective/kl": "held-out prompts"}
Curves = dict[str, list[tuple[int, float]]]


def figures(
  folder: pathlib.Path, loss: Loss, step: int | None = None, name: str = ""
) -> Markup:
  """Draws what a run has logged; a sentence where that is nothing.

  Args:
    folder: the run folder.
    loss: of the run.
    step: nothing that was logged later is drawn; None = all is.
    name: of the run, on a page with several.
  """
  last = math.inf if step is None else step
  found = _upto(folders.curves(folder), last)
  drawn = functools.partial(curves.curves, run=name)
  lengths = {
    name: name.removeprefix("eval_")
    for name in found
    if "length" in name or name == "eval_win_rate/unfinished"
  }
  figures = [
    drawn(_named(found, _LOSSES), "loss", "Loss by step."),
    drawn(
      _named(found, _ACCURACIES),
      "accuracy",
      "Reward accuracy: the share of pairs whose better completion has the "
      "higher implicit reward.",
      mark=0.5,
    ),
    drawn(_nats(folder, loss, last), "nats", NATS, mark=0.0),
    drawn(
      _named(found, _SCORES),
      "score",
      "Scores of what the policy writes, in rounds.",
    ),
    drawn(
      _named(found, _KL),
      "nats",
      "KL from the reference on what the policy writes.",
      mark=0.0,
    ),
    drawn(_named(found, lengths), "length", "Lengths, as logged."),
  ]
  made = Markup("\n").join(filter(None, figures))
  return made or Markup("<p>Nothing was logged.</p>")


def _named(found: Curves, names: dict[str, str]) -> Curves:
  return {label: found[name] for name, label in names.items() if name in found}


def _upto(found: Curves, step: float) -> Curves:
  return {
    name: [point for point in points if point[0] <= step]
    for name, points in found.items()
  }


def _nats(folder: pathlib.Path, loss: Loss, step: float) -> Curves:
  """Log-ratios of logged held-out completions at each evaluation."""
  out: Curves = {}
  for line in folders.read_metrics(folder):
    if line["step"] > step:
      continue
    judged = "eval_rewards/chosen" in line
    for who, value in nats(loss, line, judged=judged).items():
      out.setdefault(who, []).append((line["step"], value))
  return out
