"""From the data flags to the rows that a run trains on and is judged by."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from offalign import data
from offalign.config.config import blaming, in_flags
from offalign.config.data import DataConfig
from offalign.data import (
  Mixture,
  MixtureSampler,
  Problem,
  Prompt,
  Record,
  RewardScales,
  Sampler,
  Tokenizer,
  TokenRows,
)
from offalign.errors import UserError
from offalign.losses import Loss
from offalign.training import rewards, sources
from offalign.training import views as viewing
from offalign.training.sources import Sources
from offalign.training.views import Say, Views


@dataclasses.dataclass(frozen=True)
class Inputs:
  """Everything a run reads.

  Attributes:
    train: rows of the loss's own view.
    held_out: the same view of held-out prompts, or None.
    judged: held-out pairs, better completion first, for reward accuracy; or
      None where no two completions of a prompt can be told apart.
    tokenizer: which made the tokens.
    scales: what the rewards were normalised by, or None.
    problems: bad rows that were left out.
    sentences: what was done, in order.
    mixture: how the training rows of several sources are drawn; None where
      there is one.
    held_prompts: the distinct prompts that are held out, in order.
  """

  train: TokenRows
  held_out: TokenRows | None
  judged: TokenRows | None
  tokenizer: Tokenizer
  scales: RewardScales | None
  problems: tuple[Problem, ...]
  sentences: tuple[str, ...]
  mixture: Mixture | None
  held_prompts: tuple[Prompt, ...] = ()

  def sampler(self, batch_size: int, seed: int) -> Sampler:
    """Draws the training rows; from a mixture by its weights.

    Raises:
      UserError: for a batch size that does not fit the rows.
    """
    n = len(self.train)
    if self.mixture is None:
      return Sampler(n, batch_size, seed)
    return MixtureSampler(n, batch_size, seed, self.mixture)

  @property
  def fingerprint(self) -> str:
    """16 hex digits that change with any row, or the order of the rows."""
    content = hashlib.sha256()
    for rows in (self.train, self.held_out):
      if rows is None:
        continue
      content.update("".join(rows.keys()).encode())
      for column in (
        rows.completion_index,
        rows.rewards,
        rows.labels,
        rows.behaviour_logps,
      ):
        content.update(b"" if column is None else column.tobytes())
    if self.mixture is not None:
      content.update(self.mixture.of_row.tobytes())
    return content.hexdigest()[:16]


def read(
  config: DataConfig,
  loss: Loss,
  make_tokenizer: Callable[[list[str]], Tokenizer],
  seed: int,
  known: RewardScales | None = None,
) -> Inputs:
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
    raise UserError("--cfg.data.path is missing: name the feedback to train on")
  said: list[str] = []

  def say(what: str, sentences: Sequence[str]) -> None:
    said.extend(f"{what}: {in_flags(sentence)}" for sentence in sentences)

  found = sources.load(config, seed)
  said += found.sentences
  rewards.check(config, loss, found.is_mixture)
  views = viewing.make(found, config, loss, seed, say)
  tokenizer = make_tokenizer(_texts(found.train))

  def tokens(view: data.View, what: str) -> TokenRows:
    rows = _tokenize(view, tokenizer, config)
    # A note of the tokenizer, not of these rows, is said once.
    before = {s.removeprefix("training: ") for s in said}
    say(what, [s for s in rows.summary if in_flags(s) not in before])
    return rows

  train, scales = tokens(views.train, "training"), None
  held_out = None if views.held is None else tokens(views.held, "held out")
  mixture = _mixture(found, views, train, say)
  if rewards.is_wanted(config, loss):
    made = rewards.apply(
      config.normalize_by or "dataset",
      train,
      held_out,
      rows=views.rows,
      source_of=views.source_of,
      weights=None if mixture is None else mixture.row_weights,
      known=known,
    )
    train, held_out, scales = made.train, made.held, made.scales
    said += made.sentences
  judged = None
  held = [*found.held, *(r for each in found.sources for r in each.held)]
  if held_out is not None:
    held_out = _sample(held_out, config, seed, said)
    judged = _judged(found, config, tokenizer, seed, said, say)
  return Inputs(
    train,
    held_out,
    judged,
    tokenizer,
    scales,
    found.problems,
    tuple(said),
    mixture,
    tuple(dict.fromkeys(record.prompt for record in held)),
  )


def _mixture(
  found: Sources, views: Views, train: TokenRows, say: Say
) -> Mixture | None:
  """How the rows that are left are drawn, where there are several sources."""
  if not found.is_mixture:
    return None
  names = tuple(each.name for each in found.sources)
  number = {name: s for s, name in enumerate(names)}
  of_row = [number[views.source_of[sources]] for sources in train.sources]
  weights = tuple(each.weight for each in found.sources)
  with blaming("--cfg.data.path"):
    mixture = Mixture(names, weights, np.array(of_row))
  say("mixture", mixture.describe())
  return mixture


def _tokenize(
  view: data.View, tokenizer: Tokenizer, config: DataConfig
) -> TokenRows:
  cache = None
  if config.cache is not None:
    cache = pathlib.Path(config.cache).expanduser()
  return data.tokenize(
    view,
    tokenizer,
    max_prompt=config.max_prompt,
    max_completion=config.max_completion,
    vanished=config.vanished or "error",
    cache=cache,
  )


def _judged(
  found: Sources,
  config: DataConfig,
  tokenizer: Tokenizer,
  seed: int,
  said: list[str],
  say: Say,
) -> TokenRows | None:
  """Held-out pairs, each completion used about once."""
  view = viewing.judged(found, say)
  if view is None:
    return None
  rows = _tokenize(view, tokenizer, config)
  if len(rows) < len(view.rows):
    say("pairs to judge by", rows.summary[-1:])
  return _sample(rows, config, seed, said)


def _sample(
  rows: TokenRows, config: DataConfig, seed: int, said: list[str]
) -> TokenRows:
  """At most `eval_rows` rows, drawn by the seed."""
  if len(rows) <= config.eval_rows:
    return rows
  said.append(
    f"held out: {config.eval_rows:,} of {len(rows):,} rows are used "
    "(--cfg.data.eval_rows)"
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
