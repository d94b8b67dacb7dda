"""Read the prompts of rounds, and make rows that are as long as a round's."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from offalign.config import Config
from offalign.config.data import DataConfig
from offalign.config.grow import parse_thresholds
from offalign.data import Prompt, Record, Tokenizer
from offalign.data.reading.memory import Rows
from offalign.data.reading.parsing import messages_of
from offalign.data.reading.records import count
from offalign.data.text.ragged import Ragged
from offalign.errors import Sentence, UserError, concerning, option
from offalign.generation import completions
from offalign.generation.completing import encode
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.policy import limit
from offalign.policy.start import Parent
from offalign.training import sources, split
from offalign.training.batches import Batches
from offalign.training.rounds import rows
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.kept import Samples
from offalign.training.sources import Source
from offalign.training.split import Split

_READING = (
  "eval_path",
  "form",
  "columns",
  "int_labels",
  "bad_rows",
  "vanished",
)
"""Options of the data that prompts alone leave unread."""


@dataclasses.dataclass(frozen=True)
class Asked:
  """The prompts that rounds complete.

  Attributes:
    prompts: texts or conversations.
    tokens: of each.
    batch: how many a round completes.
    lengths: P and T, what prompts and completions are padded to.
  """

  prompts: tuple[Prompt, ...]
  tokens: Ragged
  batch: int
  lengths: tuple[int, int]


def read_alone(
  config: Config,
  make_tokenizer: Callable[[Iterable[str]], Tokenizer],
  held_by: Split,
) -> Batches:
  """Reads the prompts of a run that has no other data; holds some out.

  Returns:
    What a run reads, without rows.

  Raises:
    UserError: where there are none, or an option is unread.
  """
  grow, data = config.grow, config.data
  assert grow is not None
  if grow.prompts is None:
    raise UserError(
      f"{option('data.path')} is missing: name the feedback to train on, or "
      f"prompts to complete, {option('grow.prompts')}"
    )
  for name in _READING:
    if getattr(data, name) != getattr(DataConfig, name):
      raise UserError(
        f"{option(f'data.{name}')} is set, but {option('data.path')} is "
        "missing: there is nothing else to read; leave it out"
      )
  found = _read(grow.prompts)
  records = tuple(
    Record(prompt, (), None, None, False, f"{grow.prompts}:{i}")
    for i, prompt in enumerate(found)
  )
  said = [f"prompts: {count(len(found), 'prompt')} of {grow.prompts}"]
  whole = (Source("", 1.0, records),)
  parts = sources.hold_out(whole, data.eval_fraction, held_by, said)
  trained, held = sources.prompts(parts)
  said += split.leaks(trained, held, held_by)
  texts = dict.fromkeys(text for p in trained for text in _texts(p))
  return Batches(
    rows={},
    tokenizer=make_tokenizer(iter(texts)),
    scales=None,
    mixture=None,
    held=tuple(record for each in parts for record in each.held),
    trained_prompts=trained,
    problems=(),
    sentences=tuple(map(Sentence, said)),
  )


def _read(path: str) -> tuple[Prompt, ...]:
  with concerning(option("grow.prompts", path)):
    if isinstance(path, Rows):
      found = completions.prompts_of(path.items(), str(path))
    elif not pathlib.Path(path).is_file():
      raise UserError("there is no such file; name JSON lines with 'prompt'")
    else:
      found = completions.read_prompts(path)
  return tuple(map(messages_of, found))


def _texts(prompt: Prompt) -> list[str]:
  if isinstance(prompt, str):
    return [prompt]
  return [message.content for message in prompt]


def asked(
  config: Config, loss: Loss, data: Batches, parent: Parent | None
) -> tuple[Asked, Batches]:
  """Chooses what rounds complete, and gives a run rows that stand for theirs.

  Args:
    config: of the run, with its rounds resolved.
    loss: decides how many rows a prompt makes.
    data: what was read; its training rows are replaced.
    parent: the run to start from, for the length of completions.

  Returns:
    The prompts; and `data` with "train" rows of the shapes of a round's,
    which stand for those that are not drawn yet.

  Raises:
    UserError: for prompts that cannot be encoded, or options of a view that
      do not apply.
  """
  grow = config.grow
  assert grow is not None
  said = []
  chosen = data.trained_prompts
  if grow.prompts is not None and config.data.path:
    held = set(data.held_prompts)
    given = _read(grow.prompts)
    chosen = tuple(prompt for prompt in given if prompt not in held)
    if not chosen:
      raise UserError(
        f"{option('grow.prompts', grow.prompts)}: all of its prompts are held "
        f"out; name others, or lower {option('data.eval_fraction')}"
      )
    if len(chosen) < len(given):
      said.append(
        f"rounds: {len(given) - len(chosen):,} of {len(given):,} prompts are "
        "held out, and not completed"
      )
  tokens, cut = encode(data.tokenizer, chosen, config.data.max_prompt)
  others, _ = (
    encode(data.tokenizer, data.held_prompts, config.data.max_prompt)
    if data.held_prompts
    else (tokens, 0)
  )
  if cut:
    said.append(
      f"rounds: {cut:,} of {len(chosen):,} prompts are cut to their last "
      f"{config.data.max_prompt:,} tokens"
    )
  lengths = (
    int(max(tokens.lengths.max(), others.lengths.max())),
    _longest(config, data, parent),
  )
  if grow.keep == "all" and "train" in data.rows:
    lengths = (
      max(lengths[0], data.train.prompt_length),
      max(lengths[1], data.train.completion_length),
    )
  each = rows.a_prompt(
    rows.options(config.data, grow, loss, None), loss, grow.each
  )
  assert grow.every is not None
  batch = grow.batch or -(-grow.every * config.batch_size // each)
  batch = min(batch, len(chosen))
  said.append(
    f"rounds: {grow.rounds:,} of {count(grow.every, 'step')}, each with "
    f"{grow.each} completions of {batch:,} of {count(len(chosen), 'prompt')}, "
    f"{lengths[1]:,} tokens at most"
  )
  found = Asked(chosen, tokens, batch, lengths)
  template = _template(config, loss, found, data.tokenizer.pad_id)
  return found, dataclasses.replace(
    data,
    rows={**data.rows, "train": template},
    trained_prompts=chosen,
    sentences=(*data.sentences, *map(Sentence, said)),
  )


def _longest(config: Config, data: Batches, parent: Parent | None) -> int:
  """The most tokens of a completion."""
  grow = config.grow
  assert grow is not None
  if grow.max_new_tokens is not None:
    return grow.max_new_tokens
  most = config.data.max_completion
  if "train" in data.rows:
    return min(most, data.train.completion_length)
  known = None if parent is None else parent.about.get(limit.LONGEST)
  if most == limit.FALLBACK and type(known) is int and known > 0:
    return min(most, known)
  return most


def bounded(asked: Asked, model: Model) -> None:
  """Refuses completions that pass the positions that a model was made for.

  Raises:
    UserError: where they do.
  """
  why = limit.passes(asked.lengths[1], model, asked.lengths[0])
  if why:
    raise UserError(
      f"{why.removeprefix('note: ')}: give "
      f"{option('grow.max_new_tokens')} or shorter prompts"
    )


def _template(
  config: Config, loss: Loss, found: Asked, pad_id: int
) -> rows.TokenRows:
  """Rows of samples that nobody drew: all prompts, each completion a token."""
  grow = config.grow
  assert grow is not None
  n, each = len(found.prompts), grow.each
  tokens = Ragged.of([np.full(1, pad_id, np.int32)] * (n * each))
  scores = np.tile(np.arange(each) * 1e6, (n, 1)) + np.arange(n)[:, None]
  zeros = np.zeros(n * each, np.float32)
  each_token = Ragged(zeros, tokens.offsets)
  drawn = Drawn(tokens, zeros, each_token, np.ones(n * each, bool))
  cuts: Sequence[float | None] = [None]
  if parse_thresholds(grow.thresholds):
    cuts = [float(np.mean(scores)) if n * each > 1 else -1.0]
  return rows.make(
    Samples(np.arange(n), drawn, scores),
    found.tokens,
    loss,
    rows.options(config.data, grow, loss, cuts[0]),
    seed=config.seed,
    name="round 1",
    pad_id=pad_id,
    lengths=found.lengths,
    threshold=cuts[0],
  )
