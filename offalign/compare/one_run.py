"""A page for one run: its curves, and prompts completed before and after."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from offalign import pages
from offalign.compare import page as side_by_side
from offalign.compare import prompts as prompts_lib
from offalign.compare import written
from offalign.compare.contestants import Contestant, open_one
from offalign.compare.page import Card, Shown, passage
from offalign.distributed import hosts
from offalign.errors import Sentence, UserError, option, render
from offalign.files import write_atomically
from offalign.generation.completions import Completions, Prompt
from offalign.judges.base import as_text
from offalign.pages import Section
from offalign.policy import pretrained, run_curves
from offalign.policy.folder import read_warnings
from offalign.policy.start import digest

PAGE = "run.html"
PROMPTS = 6
_PARENT = re.compile(r"(.+) at step (\d+), weights ([0-9a-f]+)")


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
  assert one.loss is not None
  drawn = run_curves.figures(pathlib.Path(one.path), one.loss, one.policy.step)
  sections = [Section("Curves", drawn)]
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
