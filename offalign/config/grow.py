"""Options of rounds: sampling from the policy that is trained, and scores."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from offalign import spec
from offalign.config import refit
from offalign.data.reading.memory import Rows
from offalign.errors import OPTIONS, UserError, concerning, option
from offalign.generation.endpoint import options as endpoint_options

SAMPLES = 4
"""Completions of each prompt, where nothing is said."""

LOG = "log"
"""What `other` is, where the data itself has the other samples."""

_SAMPLING = (
  "prompts",
  "samples",
  "batch",
  "thresholds",
  "label",
  "judge",
  "other",
  "max_new_tokens",
  "top_k",
  "top_p",
  "stop",
  "sampler",
  "refit",
)


class Function(str):
  """A score that is a function at hand: its text is its name.

  Attributes:
    call: (prompt's text, completion) -> a finite number.
  """

  call: Callable[[str, str], float]

  def __new__(cls, call: Callable[[str, str], float]) -> "Function":
    """Names a function by its module and its own name."""
    name = getattr(call, "__qualname__", type(call).__name__)
    made = super().__new__(cls, f"{getattr(call, '__module__', '')}:{name}")
    made.call = call
    return made

  def __deepcopy__(self, memo: dict[int, Any]) -> "Function":
    return self


@dataclasses.dataclass(frozen=True)
class GrowConfig:
  """Rounds: the policy writes completions, and is trained on their scores.

  Attributes:
    prompts: JSON lines with "prompt", to be completed; default: the prompts
      of the training data. A share of them is held out (data.eval_fraction).
    score: what scores completions: "gold(fn='my_file.py:function')", or the
      function alone, "reward_model(run='DIR')", or "endpoint(url=...,
      model=...)", with rubric=default to rate each, else to compare the
      samples of a prompt. Without it nothing is written, and rounds only move
      the reference over the training data.
    samples: completions of each prompt in a round; default 4.
    rounds: how many rounds; default as many as the steps have room for.
    every: steps of a round; default the steps over the rounds, or 1.
    batch: prompts of a round; default as many as its steps read once, at
      most all.
    keep: what a round trains on: its "new" samples alone, or "all": those of
      every round so far, and the training data.
    thresholds: with commas, rising: a round's steps are cut into as many
      parts, and each trains on the samples whose score is above its
      threshold, as ReST improves: a number, "mean" of the round's scores, or
      a share as in 90%, above which the best tenth lies. For losses that
      read labels, those above it are the desirable ones.
    label: how scores become labels, for losses that need them: "global_mean"
      (the default) or "prompt_mean" of the round, or a number that a
      desirable completion's score is above.
    other: who writes the second half of a prompt's samples, as REBEL's mu: a
      run folder, or "log", whose completions of the prompt are taken and
      scored.
    max_new_tokens: longest completion in tokens; default data.max_completion,
      or as many as the run was, or its parent was, trained on.
    temperature: of the samples; 0 is refused, since it makes them all alike.
    top_k: draw from so many of the likeliest tokens.
    top_p: draw from the likeliest tokens with this share of the odds.
    eval_prompts: held-out prompts that are completed and scored at each
      evaluation, as eval_score; 0 for none.
    judge: a second scorer, spelled as `score`, that nothing is trained on: it
      scores the same completions, as eval_judge/score, and the run warns where
      the score rises and the judge falls.
    stop: so many evaluations in a row whose eval_score is below the best
      before end the run, as ReST ends; default: all rounds are trained.
    sampler: "endpoint(url=..., model=...)", an engine such as vLLM or SGLang
      that writes a round's samples in place of the policy; it serves what it
      was started with, or is given by you.
    refit: "refit(judge=..., every=1, pairs=64, steps=50, replay=0.5)": the
      reward model that scores is trained further at borders between rounds,
      on pairs of new samples that the judge labels, and on its own first data.
  """

  prompts: str | None = None
  score: str | None = None
  samples: int | None = None
  rounds: int | None = None
  every: int | None = None
  batch: int | None = None
  keep: Literal["new", "all"] = "new"
  thresholds: str | None = None
  label: str | None = None
  other: str | None = None
  max_new_tokens: int | None = None
  temperature: float = 1.0
  top_k: int | None = None
  top_p: float | None = None
  eval_prompts: int = 64
  judge: str | None = None
  stop: int | None = None
  sampler: str | None = None
  refit: str | None = None

  def __post_init__(self) -> None:
    """Checks the options as far as that needs no data.

    Raises:
      UserError: naming the option.
    """
    spec.check_fields("grow", self)
    least = dict.fromkeys(
      ("rounds", "every", "batch", "max_new_tokens", "stop"), 1
    )
    for name, low in {**least, "samples": 1, "eval_prompts": 0}.items():
      value = getattr(self, name)
      if value is not None and value < low:
        raise UserError(
          f"{option(f'grow.{name}')} must be at least {low}, not {value}"
        )
    if self.temperature <= 0:
      raise UserError(
        f"{option('grow.temperature')} must be above 0, not "
        f"{self.temperature:g}: at 0 all samples of a prompt are the same"
      )
    if self.score is None:
      self._refuse_unread()
    self._check_judge()
    if self.other is not None and self.each < 2:
      raise UserError(
        f"{option('grow.other')} is set, and writes half of a prompt's "
        f"completions: give {option('grow.samples')} of 2 or more"
      )
    if self.sampler is not None:
      with concerning(option("grow.sampler")):
        endpoint_options.parse(self.sampler)
    if self.refit is not None:
      with concerning(option("grow.refit")):
        refit.parse(self.refit)
    cuts = parse_thresholds(self.thresholds)
    parse_label(self.label)
    if self.every is not None and self.every < len(cuts):
      raise UserError(
        f"{option('grow.thresholds', self.thresholds)} are {len(cuts)} parts "
        f"of a round, which has {self.every} steps ({option('grow.every')})"
      )
    if self.label is not None and cuts:
      raise UserError(
        f"{option('grow.label')} and {option('grow.thresholds')} both say "
        "which samples are good; give one"
      )

  def _check_judge(self) -> None:
    if self.judge is None:
      return
    if self.judge == self.score:
      raise UserError(
        f"{option('grow.judge', self.judge)} is {option('grow.score')} too, "
        "and what is trained on cannot say whether it is over-optimised: name "
        "another, or leave it out"
      )
    if not self.eval_prompts:
      raise UserError(
        f"{option('grow.judge', self.judge)} scores held-out prompts, and "
        f"{option('grow.eval_prompts', 0)} completes none: leave one of them "
        "out"
      )

  def _refuse_unread(self) -> None:
    """Refuses options of samples, where nothing is sampled."""
    for name in _SAMPLING:
      if getattr(self, name) is not None:
        raise UserError(
          f"{option(f'grow.{name}')} is set, but nothing scores completions: "
          f"give {option('grow.score')}, such as my_file.py:function or "
          "reward_model(run='runs/rm')"
        )
    if self.keep != "new" or self.temperature != 1.0:
      name = "keep" if self.keep != "new" else "temperature"
      raise UserError(
        f"{option(f'grow.{name}')} is set, but nothing is sampled: give "
        f"{option('grow.score')} too"
      )
    if self.rounds is None and self.every is None:
      raise UserError(
        f"{option('grow.rounds')} or {option('grow.every')} is missing: say "
        f"how often the reference is to move, or leave out the {OPTIONS} of "
        f"{option('grow')}"
      )

  @property
  def each(self) -> int:
    """Completions of each prompt in a round."""
    return SAMPLES if self.samples is None else self.samples


@dataclasses.dataclass(frozen=True)
class Threshold:
  """A score that samples are to be above.

  Attributes:
    kind: "score", "mean" of a round's scores, or a "share" of them.
    value: the score, or the share in (0, 1); 0 of the mean.
  """

  kind: Literal["score", "mean", "share"]
  value: float = 0.0

  def of(self, scores: np.ndarray) -> float:
    """The score that it stands for among a round's scores, of any shape."""
    if self.kind == "mean":
      return float(np.mean(scores, dtype=np.float64))
    if self.kind == "share":
      return float(np.quantile(scores, self.value, method="lower"))
    return self.value


def parse_thresholds(text: str | None) -> tuple[Threshold, ...]:
  """Reads thresholds with commas between them; () of None.

  >>> parse_thresholds("mean, 90%")
  (Threshold(kind='mean', value=0.0), Threshold(kind='share', value=0.9))

  Raises:
    UserError: for one that is no threshold, or that does not rise.
  """
  if text is None:
    return ()
  found = tuple(_threshold(part.strip(), text) for part in text.split(","))
  for before, after in itertools.pairwise(found):
    if before.kind == after.kind and before.value >= after.value:
      raise UserError(
        f"{option('grow.thresholds', text)} must rise: each part of a round "
        "trains on fewer and better samples than the one before"
      )
  return found


def _threshold(part: str, text: str) -> Threshold:
  if part == "mean":
    return Threshold("mean")
  share = re.fullmatch(r"(\d+(?:\.\d*)?)\s*%", part)
  if share and 0 < float(share[1]) < 100:
    return Threshold("share", float(share[1]) / 100)
  number = _number(part)
  if number is None:
    raise UserError(
      f"{option('grow.thresholds', text)}: {part!r} is no threshold; write "
      "scores, mean, or shares such as 90%, with commas"
    )
  return Threshold("score", number)


def parse_label(
  text: str | None,
) -> tuple[Literal["global_mean", "prompt_mean"] | None, float | None]:
  """Reads how scores become labels: a rule, or a threshold; both may be None.

  >>> parse_label("prompt_mean"), parse_label("0.5")
  (('prompt_mean', None), (None, 0.5))

  Raises:
    UserError: where it is neither.
  """
  if text is None:
    return None, None
  if text == "global_mean":
    return "global_mean", None
  if text == "prompt_mean":
    return "prompt_mean", None
  number = _number(text)
  if number is None:
    raise UserError(
      f"{option('grow.label', text)} is none of global_mean, prompt_mean or a "
      "number that a desirable completion's score is above"
    )
  return None, number


def _number(text: str) -> float | None:
  try:
    number = float(text)
  except ValueError:
    return None
  return number if math.isfinite(number) else None


def as_prompts(value: Any) -> Any:
  """Prompts in memory as a path that stands for them; a path as it is.

  Args:
    value: a path, or a list of texts, or of rows with "prompt".

  Raises:
    UserError: where a list holds something else.
  """
  if not isinstance(value, list | tuple):
    return value
  return Rows(
    "the list of prompts",
    [{"prompt": x} if isinstance(x, str) else x for x in value],
  )
