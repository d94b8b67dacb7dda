"""Make the views of a run's sources, and join them to one."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from offalign import data
from offalign.data import Record, View, ViewOptions
from offalign.data.views import margins
from offalign.data.views.options import for_each
from offalign.data.views.pairs import PairRule
from offalign.data.views.view import ViewSummary
from offalign.errors import (
  UserError,
  concerning,
  marked,
  option,
  qualify,
  within,
)
from offalign.losses import Loss
from offalign.training.sources import Source, is_mixture
from offalign.types import Kind

_COLUMNS = ("rewards", "labels", "behaviour_logps", "gap")
Say = Callable[[str, Sequence[str]], None]
"""(what it is about, sentences)."""


def make(
  sources: Sequence[Source],
  options: ViewOptions,
  loss: Loss,
  seeds: tuple[int, int],
  say: Say,
) -> tuple[View, View | None, dict[tuple[str, ...], str]]:
  """Makes the view of each source by itself, which compares only its own rows.

  Args:
    sources: the records, see `sources.load`.
    options: of the views.
    loss: decides the kind of view.
    seeds: of what views of training rows draw, and those of held-out rows.
    say: called with sentences on what was done.

  Returns:
    All training rows; all held-out rows, or None; and, of a mixture, the name
    of a row's source by the row's `sources`, else nothing.

  Raises:
    UserError: for data that cannot serve the loss, or an unused option.
  """
  seed, held_seed = seeds
  fitted = for_each(
    options,
    [margins.typical(each.train) for each in sources if each.train],
    [margins.typical(each.held) for each in sources if not each.train],
  )
  trained: list[tuple[str, View]] = []
  held: list[tuple[str, View]] = []
  for each, own in zip(sources, fitted, strict=True):
    if not each.train:
      own = _with_threshold(own, each.held, trained)
      held.append(_view(each, each.held, loss, own, held_seed, say))
      continue
    trained.append(_view(each, each.train, loss, own, seed, say))
    if each.held:
      own = _with_threshold(own, each.held, trained[-1:])
      if loss.kind is Kind.GROUP:
        k = len(trained[-1][1].rows[0].completions)
        own = dataclasses.replace(own, group_size=k)
      try:
        held.append(_view(each, each.held, loss, own, held_seed, say))
      except UserError as error:
        # A part that chance made is no mistake of the user's.
        what = each.label("held out")
        say(what, [f"not evaluated on, since {marked(error)}"])
  source_of = {
    row.sources: name
    for name, made in (*held, *trained)
    if is_mixture(sources)
    for row in made.rows
  }
  return _merge(trained), _merge(held) if held else None, source_of


def judged(sources: Sequence[Source], say: Say) -> View | None:
  """Makes held-out pairs, better first; uses each completion about once.

  None where no two held-out completions of a prompt can be told apart.
  """
  made = []
  for each in sources:
    if not each.held:
      continue
    rule: PairRule | None = None if each.held[0].ranked else "adjacent"
    # Which is better is all that is judged by: margins are the loss's matter.
    records = [dataclasses.replace(r, margin=None) for r in each.held]
    try:
      with within("data"):
        view = data.view(records, Kind.PAIR, options=ViewOptions(pairs=rule))
    except UserError as error:
      what = each.label("held out")
      say(what, [f"no reward accuracy, since {marked(error)}"])
      continue
    say(each.label("pairs to judge by"), _qualified(view))
    made.append((each.name, view))
  return _merge(made) if made else None


def _view(
  source: Source,
  records: Sequence[Record],
  loss: Loss,
  options: ViewOptions,
  seed: int,
  say: Say,
) -> tuple[str, View]:
  """The name of a source, and the view of its training or held-out rows."""
  what = source.label("training" if records is source.train else "held out")
  named = source.name and records is source.train
  about = concerning(what) if named else contextlib.nullcontext()
  with about, within("data"):
    view = data.view(records, loss.kind, loss.needs, options, seed=seed)
  say(what, _qualified(view))
  return source.name, view


def _qualified(view: View) -> list[str]:
  """The sentences of a view, with options named as those of a run."""
  return [qualify(sentence, "data") for sentence in view.summary.sentences]


def _with_threshold(
  options: ViewOptions,
  records: Sequence[Record],
  trained: Sequence[tuple[str, View]],
) -> ViewOptions:
  """Options for held-out records: with the training data's threshold."""
  labelled = records[0].ranked or records[0].labels is not None
  if labelled and options.label_rule is None:
    return options
  thresholds = {view.summary.threshold for _, view in trained} - {None}
  if len(thresholds) > 1:
    raise UserError(
      "the sources have label thresholds of their own, their mean rewards, and "
      f"the rows of {option('data.eval_path')} are of none of them; give "
      f"{option('data.label_threshold')}"
    )
  threshold = thresholds.pop() if thresholds else None
  return dataclasses.replace(options, label_threshold=threshold)


def _merge(views: Sequence[tuple[str, View]]) -> View:
  """Merges views: all rows, with the columns that every view has."""
  if len(views) == 1:
    return views[0][1]
  (first_name, first), *others = views
  k = len(first.rows[0].completions)
  for name, view in others:
    other = len(view.rows[0].completions)
    if other != k:
      raise UserError(
        f"{first_name} makes groups of {k} completions and {name} groups of "
        f"{other}; give {option('data.group_size')}"
      )
  rows = [row for _, view in views for row in view.rows]
  lacking: dict[str, Any] = {
    column: None
    for column in _COLUMNS
    if any(getattr(view.rows[0], column) is None for _, view in views)
  }
  kept = tuple(dataclasses.replace(row, **lacking) for row in rows)
  return View(first.kind, kept, ViewSummary({"rows": len(kept)}, ()))
