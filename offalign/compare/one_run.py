"""A page for one run: its curves, and prompts completed before and after."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from offalign import pages
from offalign.compare import page as side_by_side
from offalign.compare import plots, written
from offalign.compare import prompts as prompts_lib
from offalign.compare import text as words
from offalign.compare.contestants import Contestant, open_one
from offalign.compare.page import Card, Shown, passage
from offalign.distributed import hosts
from offalign.errors import Sentence, UserError, option, render
from offalign.files import write_atomically
from offalign.generation.completions import Completions, Prompt
from offalign.judges.base import as_text
from offalign.pages import Section
from offalign.policy import pretrained
from offalign.policy.folder import curves, read_metrics, read_warnings
from offalign.policy.log_ratios import nats
from offalign.policy.start import digest

PAGE = "run.html"
PROMPTS = 6
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
_PARENT = re.compile(r"(.+) at step (\d+), weights ([0-9a-f]+)")
Curves = dict[str, list[tuple[int, float]]]


def describe_run(
  run: str | os.PathLike[str],
  *,
  out: str | os.PathLike[str],
  prompts: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  step: str | int = "newest",
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  verbose: bool = True,
) -> pathlib.Path:
  """Writes a page for one run: curves, and prompts before and after.

  Args:
    run: the run folder.
    out: the folder for run.html and the completions.
    prompts: JSON lines with "prompt". Default: held-out ones of the run.
    limit: so many prompts at most. Default: 6.
    step: of the checkpoint: "newest", "best" or a number.
    max_new_tokens: see `Policy.generate`.
    temperature: see `Policy.generate`.
    seed: of the samples, and of the choice of prompts.
    verbose: says what is done.

  Returns:
    The page's path.

  Raises:
    UserError: for what is no run, or see `Policy.generate`.
  """
  folder = pathlib.Path(out)
  written.check_folder(folder)
  one = open_one(os.fspath(run), str(step))
  if not one.is_run:
    raise UserError(
      f"{one.path} is a model folder and no run, so nothing was logged of it: "
      "name a run, or two policies and a judge"
    )
  said: list[str] = []
  before = started_from(one, said)
  asked: tuple[Prompt, ...] = ()
  file = None if prompts is None else os.fspath(prompts)
  try:
    asked = prompts_lib.choose([one], file, limit or PROMPTS, seed).prompts
  except UserError as error:
    if file is not None:
      raise
    said.append(f"no prompts are completed here: {error.marked}")
  drawing: dict[str, Any] = {
    "max_new_tokens": max_new_tokens,
    "temperature": temperature,
    "seed": seed,
  }
  both = [*([before] if before else []), one]
  if asked:
    drawing["max_new_tokens"], why = written.common_limit(both, max_new_tokens)
    said += [why] if why else []
  for sentence in said if verbose else ():
    hosts.say(sentence)
  texts = (
    written.write_all(both, asked, drawing, folder, verbose=verbose)
    if asked
    else []
  )
  folder.mkdir(parents=True, exist_ok=True)
  write_atomically(folder / PAGE, page(one, texts, asked, said))
  return folder / PAGE


def started_from(one: Contestant, said: list[str]) -> Contestant | None:
  """The policy that a run started from, where it can be opened.

  Args:
    one: the run.
    said: gets a sentence on why it cannot.
  """
  about = one.policy.about
  parent = _PARENT.fullmatch(str(about.get("start", "")))
  name = about["config"].get("init") or about["config"].get("model")
  try:
    if about["config"].get("init") and parent:
      found = open_one(str(name), parent[2])
      if digest(found.policy.params) != parent[3]:
        raise UserError(f"{name} has been trained anew since")
      found = open_one(str(name), parent[2])  # without its weights
    elif name and pretrained.is_one(name):
      found = open_one(str(name), "newest")
    else:
      said.append("the run began with random weights, so there is no before")
      return None
  except UserError as error:
    said.append(
      f"what the run started from cannot be opened, so that there is no "
      f"before: {error.marked}"
    )
    return None
  return found


def page(
  one: Contestant,
  texts: Sequence[Completions],
  asked: Sequence[Prompt],
  said: Sequence[str],
) -> str:
  """Returns the page of a run.

  Args:
    one: the run.
    texts: completions before and after, or after alone, or none.
    asked: their prompts.
    said: notes.
  """
  found = _upto(curves(pathlib.Path(one.path)), one.policy.step)
  sections = [Section("Curves", _figures(one, found))]
  warned = read_warnings(pathlib.Path(one.path), one.policy.step)
  bullets = pages.template("pages/parts.html").bullets
  if warned:
    told = [render(Sentence(sentence)) for sentence in warned]
    sections.insert(0, Section("Warnings", bullets(told)))
  if texts:
    html = pages.template("compare/page.html")
    shown = [_prompt(texts, asked, i) for i in range(len(asked))]
    title = "Before and after" if len(texts) > 1 else "Completions"
    sections.append(Section(title, html.articles(shown)))
  if said:
    notes = [render(Sentence(sentence)) for sentence in said]
    sections.append(Section("Notes", bullets(notes)))
  lead = (
    f"{one.kind}, {one.policy.about['model']}, at step {one.policy.step:,}; "
    f"it started from {one.policy.about.get('start', 'what it does not say')}."
  )
  return pages.page(f"Run {one.name}", sections, lead=lead)


def _figures(one: Contestant, found: Curves) -> Markup:
  """The curves that the run has logged, a figure each."""
  lengths = {
    name: name.removeprefix("eval_")
    for name in found
    if "length" in name or name == "eval_win_rate/unfinished"
  }
  figures = [
    plots.curves(_named(found, _LOSSES), "loss", "Loss by step."),
    plots.curves(
      _named(found, _ACCURACIES),
      "accuracy",
      "Reward accuracy: the share of pairs whose better completion has the "
      "higher implicit reward.",
      mark=0.5,
    ),
    plots.curves(_nats(one), "nats", words.NATS, mark=0.0),
    plots.curves(
      _named(found, _SCORES),
      "score",
      "Scores of what the policy writes, in rounds.",
    ),
    plots.curves(
      _named(found, _KL),
      "nats",
      "KL from the reference on what the policy writes.",
      mark=0.0,
    ),
    plots.curves(_named(found, lengths), "length", "Lengths, as logged."),
  ]
  made = Markup("\n").join(filter(None, figures))
  return made or Markup("<p>Nothing was logged.</p>")


def _named(found: Curves, names: dict[str, str]) -> Curves:
  return {label: found[name] for name, label in names.items() if name in found}


def _upto(found: Curves, step: int) -> Curves:
  return {
    name: [point for point in points if point[0] <= step]
    for name, points in found.items()
  }


def _nats(one: Contestant) -> Curves:
  """Log-ratios of logged held-out completions at each evaluation."""
  out: Curves = {}
  assert one.loss is not None
  for line in read_metrics(pathlib.Path(one.path)):
    if line["step"] > one.policy.step:
      continue
    judged = "eval_rewards/chosen" in line
    for who, value in nats(one.loss, line, judged=judged).items():
      out.setdefault(who, []).append((line["step"], value))
  return out


def _prompt(
  texts: Sequence[Completions], asked: Sequence[Prompt], i: int
) -> Shown:
  verdicts = ["before", "after"] if len(texts) > 1 else ["after"]
  cards = [
    Card(
      each.name,
      passage(each.texts[i]),
      "",
      verdict,
      side_by_side.length_of(each, i),
    )
    for each, verdict in zip(texts, verdicts, strict=True)
  ]
  return Shown(f"Prompt {i + 1}", passage(as_text(asked[i])), [], cards)


def unused(name: str) -> str:
  """The sentence for an option that a page of one run does not read."""
  return (
    f"{option(name)} is for comparing runs, and one run is named: name "
    f"another, or {option('baseline')}"
  )
