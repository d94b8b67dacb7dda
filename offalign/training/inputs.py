"""Read a run's data: from its options to rows to train on and judge by."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from offalign import data, progress
from offalign.config.data import DataConfig
from offalign.data import Mixture, Record, RewardScales, Tokenizer, TokenRows
from offalign.data.views.rows import Needs
from offalign.distributed import hosts
from offalign.errors import (
  Sentence,
  UserError,
  concerning,
  marked,
  option,
  qualify,
  within,
)
from offalign.losses import Loss
from offalign.training import (
  equal_rows,
  health,
  held_prompts,
  rewards,
  sources,
  split,
  views,
)
from offalign.training.batches import Batches
from offalign.training.equal_rows import Part
from offalign.training.sources import Source
from offalign.training.split import Split
from offalign.training.views import Say
from offalign.types import Kind


@progress.of_run(hosts.speaks)
def read(
  config: DataConfig,
  loss: Loss,
  make_tokenizer: Callable[[Iterable[str]], Tokenizer],
  seed: int,
  known: RewardScales | None = None,
  held_by: Split | None = None,
  folder: pathlib.Path | None = None,
) -> Batches:
  """Reads the data, makes the views, tokenises, normalises rewards.

  Args:
    config: the data flags.
    loss: decides the view.
    make_tokenizer: from the training texts.
    seed: of what views of the training rows draw.
    known: the scales of a run that goes on, to be used again.
    held_by: chooses the held-out prompts and, by its seed, the rows of them
      that are evaluated on; default: by `seed`.
    folder: on whose disk tokens lie that are too many for memory; None = all
      are in memory.

  Raises:
    UserError: for data that cannot serve the loss, or an unused option.
  """
  if not config.path:
    raise UserError(
      f"{option('data.path')} is missing: name the feedback to train on"
    )
  said: list[str] = []
  held_by = held_by or Split(seed)

  def say(what: str, sentences: Sequence[str]) -> None:
    said.extend(f"{what}: {marked(sentence)}" for sentence in sentences)

  found = sources.load(config, held_by, said)
  split_said = len(said) - 1  # where what is held out is said
  rewards.check(config, loss, sources.is_mixture(found))
  tokenizer: Tokenizer | None = None

  def tokens(view: data.View, what: str) -> TokenRows:
    assert tokenizer is not None
    rows = _tokenize(view, tokenizer, config, folder)
    # A note of the tokenizer, not of these rows, is said once.
    before = {s.removeprefix("training: ") for s in said}
    made = [qualify(sentence, "data") for sentence in rows.summary]
    say(what, [sentence for sentence in made if sentence not in before])
    return rows

  while True:
    with sources.naming_unread(said):
      view, held_view, source_of = views.make(
        found, config, loss, (seed, held_by.seed), say
      )
    if tokenizer is None:
      records = [record for each in found for record in each.train]
      _check_template_vars(config, records)
      tokenizer = make_tokenizer(_texts(records))
    train, scales = tokens(view, "training"), None
    held_out = None if held_view is None else tokens(held_view, "held out")
    met = held_prompts.shared(found, config, tokenizer, train, held_out)
    if not met or config.eval_path is not None:
      break
    # Prompts that differ as text alone were parted.
    del said[split_said:]
    found = held_prompts.apart(found, config, tokenizer, held_by, said)
  if met:
    said.append(held_prompts.leaks(met, found, config, tokenizer))
  sides = sources.prompts(found)
  said += split.leaks(*sides, held_by)
  _compare(view, train, held_view, held_out, tokenizer, config, loss, say)
  if config.selects and not _reads(loss):
    _note_selection(found, tokenizer, config, say, folder)
  mixture = _mixture(found, source_of, train, say)
  viewed = (*view.rows, *(held_view.rows if held_view else ()))
  apart = health.outlying(train) if rewards.reads_rewards(loss) else None
  if "margins" in loss.needs:
    apart = health.outlying(train, "margin")
  if apart is not None:
    said.append(f"warning: {apart}")
  if rewards.is_wanted(config, loss, viewed):
    train, held_out, scales = rewards.apply(
      config.normalize_by or "dataset",
      train,
      held_out,
      rows=viewed,
      source_of=source_of,
      weights=None if mixture is None else mixture.row_weights,
      known=known,
      said=said,
    )
  rows = {"train": train}
  if held_out is not None:
    drawn = held_by.seed
    rows["held_out"] = _sample(held_out, config, drawn, said)
    judged = _judged(found, config, loss, tokenizer, drawn, said, say, folder)
    if judged is not None:
      rows["judged"] = judged
  return Batches(
    rows,
    tokenizer,
    scales,
    mixture,
    held=tuple(record for each in found for record in each.held),
    trained_prompts=sides[0],
    problems=tuple(problem for each in found for problem in each.problems),
    sentences=tuple(map(Sentence, said)),
  )


def _check_template_vars(config: DataConfig, records: Sequence[Record]) -> None:
  talks = any(not isinstance(record.prompt, str) for record in records)
  if config.template_vars is not None and not talks:
    raise UserError(
      f"{option('data.template_vars')} is set, but the data has no "
      "conversations for a chat template to write; leave it out"
    )


def _compare(
  view: data.View,
  train: TokenRows,
  held_view: data.View | None,
  held_out: TokenRows | None,
  tokenizer: Tokenizer,
  config: DataConfig,
  loss: Loss,
  say: Say,
) -> None:
  """Warns of, or refuses, rows that text tells apart and tokens do not."""
  parts = {"training": [Part(view, train)]}
  if held_view is not None and held_out is not None:
    # Of one file, rows are counted as its owner counts them: all of them.
    what = "data" if config.eval_path is None else "held out"
    parts.setdefault(what, []).append(Part(held_view, held_out))
    if what == "data":
      parts = {what: parts["training"] + parts[what]}
  for what, each in parts.items():
    say(
      what,
      equal_rows.check(
        each,
        tokenizer,
        config,
        reads_feedback=_reads(loss),
        refuse=what != "held out",
      ),
    )


def _reads(loss: Loss) -> bool:
  """Whether a loss reads how good a completion is."""
  wants = Needs.of(loss.needs)
  return wants.rewards or wants.labels


def _found(
  parts: Sequence[Part], tokenizer: Tokenizer, config: DataConfig
) -> list[str]:
  """What is equal as tokens in rows that no loss is trained on."""
  return equal_rows.check(
    parts,
    tokenizer,
    config,
    reads_feedback=True,
    refuse=False,
    look_for_lost=False,
  )


def _note_selection(
  found: Sequence[Source],
  tokenizer: Tokenizer,
  config: DataConfig,
  say: Say,
  folder: pathlib.Path | None,
) -> None:
  """Warns where completions that are chosen from are equal as tokens."""
  for each in found:
    if not each.train:
      continue
    view = data.view(each.train, Kind.SINGLE, ("rewards",))
    try:
      rows = _tokenize(
        view, tokenizer, dataclasses.replace(config, vanished="drop"), folder
      )
    except UserError:
      continue  # of what is not trained on; what is, was tokenised before
    what = each.label("selection")
    say(what, _found([Part(view, rows)], tokenizer, config))


def _mixture(
  found: Sequence[Source],
  source_of: dict[tuple[str, ...], str],
  train: TokenRows,
  say: Say,
) -> Mixture | None:
  """The mixture that training rows are drawn by; None of one source."""
  if not sources.is_mixture(found):
    return None
  drawn = [each for each in found if each.train]
  names = tuple(each.name for each in drawn)
  number = {name: s for s, name in enumerate(names)}
  of_row = [number[source_of[places]] for places in train.sources]
  weights = tuple(each.weight for each in drawn)
  with concerning(option("data.path")):
    mixture = Mixture(names, weights, np.array(of_row))
  say("mixture", mixture.describe())
  return mixture


def _tokenize(
  view: data.View,
  tokenizer: Tokenizer,
  config: DataConfig,
  spool: pathlib.Path | None,
) -> TokenRows:
  cache = None
  if config.cache is not None:
    cache = pathlib.Path(config.cache).expanduser()
  with within("data"):
    return data.tokenize(
      view,
      tokenizer,
      max_prompt=config.max_prompt,
      max_completion=config.max_completion,
      vanished=config.vanished or "error",
      cache=cache,
      spool=spool,
    )


def _judged(
  found: Sequence[Source],
  config: DataConfig,
  loss: Loss,
  tokenizer: Tokenizer,
  seed: int,
  said: list[str],
  say: Say,
  folder: pathlib.Path | None,
) -> TokenRows | None:
  """Held-out pairs, each completion used about once."""
  view = views.judged(found, say)
  if view is None:
    return None
  rows = _tokenize(view, tokenizer, config, folder)
  if len(rows) < len(view.rows):
    say("pairs to judge by", [qualify(s, "data") for s in rows.summary[-1:]])
  if loss.kind is not Kind.PAIR:
    say("pairs to judge by", _found([Part(view, rows)], tokenizer, config))
  return _sample(rows, config, seed, said)


def _sample(
  rows: TokenRows, config: DataConfig, seed: int, said: list[str]
) -> TokenRows:
  """At most `eval_rows` rows, drawn by the seed."""
  if len(rows) <= config.eval_rows:
    return rows
  said.append(
    f"held out: {config.eval_rows:,} of {len(rows):,} rows are used "
    f"({option('data.eval_rows')})"
  )
  order = np.random.default_rng([seed, 1]).permutation(len(rows))
  kept = np.sort(order[: config.eval_rows])
  return rows.take(kept)


def _texts(records: Sequence[Record]) -> Iterator[str]:
  """Yields each distinct text of the training data once, in order."""
  texts: dict[str, None] = {}
  for record in records:
    prompt = record.prompt
    turns = [prompt] if isinstance(prompt, str) else [m.content for m in prompt]
    texts.update(dict.fromkeys((*turns, *record.completions)))
  with progress.Progress("texts for the tokenizer", len(texts), "text") as bar:
    for text in texts:
      yield text
      bar.update()
