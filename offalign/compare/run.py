"""Compare runs: complete held-out prompts, judge, and write the report."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from offalign.compare import contestants, prompts, report, rows, written
from offalign.compare.contestants import Contestant
from offalign.compare.result import Comparison, Entry
from offalign.compare.scores import mean_score
from offalign.distributed import hosts
from offalign.errors import UserError, option
from offalign.generation.completions import Completions, cuts
from offalign.judges import standings
from offalign.judges.base import Judge
from offalign.judges.contest import Duel, duel, warnings
from offalign.judges.gold import Score
from offalign.judges.policies import as_judge
from offalign.judges.win_rates import FOLDS
from offalign.policy.folder import read_cost
from offalign.policy.policy import BATCH


def compare_runs(
  runs: Sequence[str | os.PathLike[str]],
  *,
  judge: Score | Judge | str,
  out: str | os.PathLike[str],
  baseline: str | os.PathLike[str] | None = None,
  prompts: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  step: str | int = "newest",
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  batch_size: int = BATCH,
  folds: int = FOLDS,
  verbose: bool = True,
) -> Comparison:
  """Compares trained policies on held-out prompts, and writes a report.

  Args:
    runs: run folders, model folders or what else `Policy.load` opens.
    judge: a function (prompt's text, completion) -> a number, higher is
      better; a spec that `judges.make` reads, such as "my_file.py:score"; or
      a judge.
    out: the folder for compare.html, compare.md, compare.json, rows.jsonl and
      the completions. Completions that are there already, of the same
      policies, prompts and options, are not written again.
    baseline: with which the others are compared. Default: the first run.
    prompts: JSON lines with "prompt". Default: the prompts that all runs held
      out.
    limit: so many prompts at most. Default: 256 held-out ones, or all of a
      file.
    step: of the runs' checkpoints: "newest", "best" or a number.
    max_new_tokens: tokens of a completion at most, the same for all policies.
      Default: the longest of the runs' limits; see `Policy.generate`.
    temperature: see `Policy.generate`.
    seed: of the samples, and of the choice of prompts.
    batch_size: completions at a time.
    folds: disjoint parts of the prompts, each with its own win rate.
    verbose: says what is done.

  Returns:
    What was found; the files have the same.

  Raises:
    UserError: for what is no run, no judge or no prompt; or see
      `Policy.generate`.
  """
  folder = pathlib.Path(out)
  written.check_folder(folder)
  if limit is not None and limit < 1:
    raise UserError(f"{option('limit')} must be at least 1, not {limit}")
  them = contestants.open_all(
    [os.fspath(run) for run in runs],
    None if baseline is None else os.fspath(baseline),
    str(step),
  )
  asked = _prompts(them, prompts, limit, seed)
  made = as_judge(judge, folder)
  tokens, why = written.common_limit(them, max_new_tokens)
  drawing: dict[str, Any] = {
    "max_new_tokens": tokens,
    "temperature": temperature,
    "seed": seed,
    "batch_size": batch_size,
  }
  said = [*asked.said, *filter(None, [why])]
  for sentence in said if verbose else ():
    hosts.say(sentence)
  texts = written.write_all(
    them, asked.prompts, drawing, folder, verbose=verbose
  )
  duels = [duel(made, each, texts[0], folds) for each in texts[1:]]
  unjudged = [one.name for one in them if not one.has_cost]
  if unjudged:
    said.append(
      f"no row of a leaderboard for {', '.join(unjudged)}: what its training "
      "took is not known, as of a model folder"
    )
  found = Comparison(
    made.spec,
    asked.prompts,
    asked.source,
    drawing,
    _entries(them, texts, duels, asked.source),
    (*said, *_together(duels), *warnings(duels)),
  )
  report.write(found, folder)
  return found


def _together(duels: Sequence[Duel]) -> list[str]:
  """How the policies differ among themselves, and what would be seen."""
  said = standings.sentences(standings.gaps(duels))
  if scale := standings.strengths(duels):
    listed = ", ".join(
      f"{s.name} {s.value:+.2f} [{s.low:+.2f}, {s.high:+.2f}]" for s in scale
    )
    said.append(f"Bradley-Terry strengths, in log-odds: {listed}.")
  return [*said, *filter(None, [standings.power_line(duels)])]


def _prompts(
  them: Sequence[Contestant],
  file: str | os.PathLike[str] | None,
  limit: int | None,
  seed: int,
) -> prompts.Asked:
  path = None if file is None else os.fspath(file)
  return prompts.choose(them, path, limit, seed)


def _entries(
  them: Sequence[Contestant],
  texts: Sequence[Completions],
  duels: Sequence[Duel],
  source: str,
) -> tuple[Entry, ...]:
  against: list[Duel | None] = [None, *duels]
  names = rows.labels(them)
  return tuple(
    _entry(*each, duels, source)
    for each in zip(them, texts, against, names, strict=True)
  )


def _entry(
  one: Contestant,
  text: Completions,
  against: Duel | None,
  label: str,
  duels: Sequence[Duel],
  source: str,
) -> Entry:
  scores = _scores(against, duels)
  entry = Entry(
    name=one.name,
    path=one.path,
    kind=one.kind,
    step=one.policy.step,
    written=text,
    duel=against,
    scores=scores,
    score=mean_score(np.array(scores)) if scores else None,
    budget=budget(one),
    metrics=one.metrics,
    nats=one.nats,
    row=None,
  )
  if not one.has_cost:
    return entry
  samples = list(zip(text.prompts, text.texts, scores, strict=False))
  return dataclasses.replace(
    entry, row=rows.make(one, label, source, _metrics(entry), samples)
  )


def _scores(against: Duel | None, duels: Sequence[Duel]) -> tuple[float, ...]:
  """What the judge gives a policy's completions; the baseline's come second."""
  first = duels[0] if against is None else against
  if first.said is None or first.said.scores is None:
    return ()
  side = 1 if against is None else 0
  return tuple(map(float, first.said.scores[side]))


def budget(one: Contestant) -> dict[str, float]:
  """What a policy's training took; {} where it is not known."""
  cost = read_cost(pathlib.Path(one.path))
  if cost is None:
    return {}
  return {
    "steps": cost["step"],
    "completions": cost["completions"],
    "seconds": cost["seconds"]["wall"],
  }


def _metrics(entry: Entry) -> dict[str, Any]:
  """What the comparison adds to the metrics of a row."""
  cut = cuts(entry.written.ends, len(entry.written.texts))
  known = cut.completions - cut.unknown
  found: dict[str, Any] = {
    "mean_characters": entry.characters,
    "mean_tokens": entry.tokens,
    "unfinished": cut.unfinished / known if cut.unfinished else None,
  }
  if entry.score is not None:
    found |= {
      "score": entry.score.mean,
      "score_low": entry.score.low,
      "score_high": entry.score.high,
    }
  for who, value in entry.nats.items():
    found[f"nats_{who}"] = value
  rate = entry.duel.found if entry.duel else None
  if rate is not None:
    found[rows.WIN] = rate
    found[f"{rows.WIN}_length_controlled"] = rate.length_controlled
    found[f"{rows.WIN}_ties"] = rate.ties
  return found
