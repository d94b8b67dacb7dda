"""From the data flags to the rows that a run trains on and is judged by."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from offalign import data
from offalign.config.data import DataConfig
from offalign.data import Mixture, Record, RewardScales, Tokenizer, TokenRows
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
from offalign.training import health, rewards, sources, views
from offalign.training.batches import Batches
from offalign.training.sources import Source
from offalign.training.views import Say


def read(
  config: DataConfig,
  loss: Loss,
  make_tokenizer: Callable[[list[str]], Tokenizer],
  seed: int,
  known: RewardScales | None = None,
) -> Batches:
  """Reads, views, tokenises and normalises.

  Args:
    config: the data flags.
    loss: decides the view.
    make_tokenizer: from the training texts.
    seed: chooses the held-out prompts and rows, and what views draw.
    known: the scales of a run that goes on, to be used again.

  Raises:
    UserError: for data that cannot serve the loss, or an unused option.
  """
  if not config.path:
    raise UserError(
      f"{option('data.path')} is missing: name the feedback to train on"
    )
  said: list[str] = []

  def say(what: str, sentences: Sequence[str]) -> None:
    said.extend(f"{what}: {marked(sentence)}" for sentence in sentences)

  found = sources.load(config, seed, said)
  rewards.check(config, loss, sources.is_mixture(found))
  view, held_view, source_of = views.make(found, config, loss, seed, say)
  records = [record for each in found for record in each.train]
  tokenizer = make_tokenizer(_texts(records))

  def tokens(view: data.View, what: str) -> TokenRows:
    rows = _tokenize(view, tokenizer, config)
    # A note of the tokenizer, not of these rows, is said once.
    before = {s.removeprefix("training: ") for s in said}
    made = [qualify(sentence, "data") for sentence in rows.summary]
    say(what, [sentence for sentence in made if sentence not in before])
    return rows

  train, scales = tokens(view, "training"), None
  held_out = None if held_view is None else tokens(held_view, "held out")
  mixture = _mixture(found, source_of, train, say)
  apart = health.outlying(train) if rewards.reads_rewards(loss) else None
  if apart is not None:
    said.append(f"warning: {apart}")
  if rewards.is_wanted(config, loss):
    train, held_out, scales = rewards.apply(
      config.normalize_by or "dataset",
      train,
      held_out,
      rows=(*view.rows, *(held_view.rows if held_view else ())),
      source_of=source_of,
      weights=None if mixture is None else mixture.row_weights,
      known=known,
      said=said,
    )
  rows = {"train": train}
  if held_out is not None:
    rows["held_out"] = _sample(held_out, config, seed, said)
    judged = _judged(found, config, tokenizer, seed, said, say)
    if judged is not None:
      rows["judged"] = judged
  held = [record for each in found for record in each.held]
  return Batches(
    rows,
    tokenizer,
    scales,
    mixture,
    held_prompts=tuple(dict.fromkeys(record.prompt for record in held)),
    problems=tuple(problem for each in found for problem in each.problems),
    sentences=tuple(map(Sentence, said)),
  )


def _mixture(
  found: Sequence[Source],
  source_of: dict[tuple[str, ...], str],
  train: TokenRows,
  say: Say,
) -> Mixture | None:
  """How the rows that are left are drawn, where there are several sources."""
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
  view: data.View, tokenizer: Tokenizer, config: DataConfig
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
    )


def _judged(
  found: Sequence[Source],
  config: DataConfig,
  tokenizer: Tokenizer,
  seed: int,
  said: list[str],
  say: Say,
) -> TokenRows | None:
  """Held-out pairs, each completion used about once."""
  view = views.judged(found, say)
  if view is None:
    return None
  rows = _tokenize(view, tokenizer, config)
  if len(rows) < len(view.rows):
    say("pairs to judge by", [qualify(s, "data") for s in rows.summary[-1:]])
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


def _texts(records: Sequence[Record]) -> list[str]:
  """Each distinct text of the training data once, in order."""
  texts: dict[str, None] = {}
  for record in records:
    prompt = record.prompt
    turns = [prompt] if isinstance(prompt, str) else [m.content for m in prompt]
    texts.update(dict.fromkeys((*turns, *record.completions)))
  return list(texts)
