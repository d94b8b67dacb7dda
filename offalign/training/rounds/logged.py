"""The log's completions as half of a round's samples, as REBEL's mu may be.

They are scored as the policy's own samples are; feedback that the log has is
not read. What they lack are log-probs under the policy that wrote them.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from offalign import losses
from offalign.config import Config
from offalign.config.grow import LOG
from offalign.data import Tokenizer, TokenRows, ViewOptions
from offalign.data.batches import mixture
from offalign.data.reading.records import count
from offalign.data.text.ragged import Ragged
from offalign.errors import Sentence, UserError, option
from offalign.losses import Loss
from offalign.training import inputs
from offalign.training.batches import Batches
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.prompts import Asked
from offalign.training.split import Split

_OF_LOSS = ("this loss reads no feedback", "pairs to judge by")
"""In sentences on a loss or on pairs, which these rows are not read for."""


def check(config: Config, loss: Loss) -> None:
  """Refuses what completions of a log cannot give.

  Args:
    config: of a run whose `grow.other` is the log.
    loss: of the run.

  Raises:
    UserError: naming the option.
  """
  grow = config.grow
  assert grow is not None
  given = option("grow.other", LOG)
  if not config.data.path:
    raise UserError(
      f"{given} is set, but {option('data.path')} is missing: name the log "
      f"whose completions are half of a prompt's samples; a run folder of the "
      f"name {LOG} is ./{LOG}"
    )
  reads = {"behaviour_logps", "behaviour_token_logps"} & set(loss.needs)
  if reads:
    raise UserError(
      f"{given} is set, but loss {str(loss)!r} divides by the odds that the "
      "policy that wrote a completion gave it, which are not known of a log: "
      "choose a loss without ratios, such as rebel or dpo"
    )
  for name, default in (("keep", "new"), ("prompts", None)):
    value = getattr(grow, name)
    if value != default:
      raise UserError(
        f"{given} is set beside {option(f'grow.{name}', value)}: each round "
        "completes prompts of the log, and has its completions already; leave "
        "one of them out"
      )
  if mixture.parse(config.data.path):
    raise UserError(
      f"{given} is set, and {option('data.path')} is a mixture, whose weights "
      "samples have no part in: give one source"
    )


def read(
  config: Config,
  make_tokenizer: Callable[[Iterable[str]], Tokenizer],
  held_by: Split,
  folder: pathlib.Path,
) -> Batches:
  """Reads the completions of the log, whatever feedback there is on them.

  Args:
    config: of the run.
    make_tokenizer: from the training texts.
    held_by: chooses the held-out prompts.
    folder: on whose disk tokens lie that are too many for memory.

  Returns:
    What the run reads; its only rows are "train", a completion each.

  Raises:
    UserError: for a log that cannot be read.
  """
  defaults: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(ViewOptions)
  }
  plain = dataclasses.replace(
    config.data,
    **defaults,
    normalize_rewards=None,
    normalize_by=None,
  )
  found = inputs.read(
    plain,
    losses.get("sft"),
    make_tokenizer,
    config.seed,
    None,
    held_by,
    folder,
  )
  said = [s for s in found.sentences if not any(x in s for x in _OF_LOSS)]
  of = count(len(found.train), "completion")
  said.append(Sentence(f"rounds: half of the samples are of the log's {of}"))
  return dataclasses.replace(
    found, rows={"train": found.train}, sentences=tuple(said)
  )


@dataclasses.dataclass(frozen=True)
class Logged:
  """The completions that a log has of the prompts of a run.

  Attributes:
    completions: tokens, of all.
    of_prompt: int [m] for each prompt of the run, which are its.
    end_ids: tokens that end a completion.
  """

  completions: Ragged
  of_prompt: tuple[np.ndarray, ...]
  end_ids: tuple[int, ...]

  @classmethod
  def of(
    cls, rows: TokenRows, asked: Asked, end_ids: Sequence[int]
  ) -> "Logged":
    """Finds the completions of each prompt, by the prompt's tokens.

    Args:
      rows: of the log, a completion each.
      asked: the prompts of the run.
      end_ids: tokens that end a completion.

    Raises:
      UserError: where the log's completions are longer than the samples, or
        a prompt has none.
    """
    longest = rows.longest_completion
    if longest > asked.lengths[1]:
      raise UserError(
        f"{option('grow.max_new_tokens', asked.lengths[1])} is less than the "
        f"{longest:,} tokens of the log's longest completion, which stands "
        f"beside the samples ({option('grow.other', LOG)}): raise it, or cut "
        f"the log's too ({option('data.max_completion')})"
      )
    found: dict[bytes, list[int]] = {}
    used = rows.completion_index[:, 0]
    for prompt, completion in zip(rows.prompt_index, used, strict=True):
      found.setdefault(_key(rows.prompts[prompt]), []).append(completion)
    each = [found.get(_key(tokens), []) for tokens in asked.tokens]
    without = sum(not places for places in each)
    if without:
      raise UserError(
        f"{option('grow.other', LOG)} is set, but {count(without, 'prompt')} "
        f"of {len(each):,} have no completion in the log that is left after "
        "tokenising"
      )
    return cls(
      rows.completions,
      tuple(np.array(places, np.int64) for places in each),
      tuple(end_ids),
    )

  def take(self, which: np.ndarray, seeds: np.ndarray) -> Drawn:
    """Takes completions of prompts, each once before any comes again.

    Args:
      which: int [n], the prompts.
      seeds: int [n * h], of h completions for each prompt.

    Returns:
      n * h completions, those of a prompt one after the other; their log-probs
      are NaN.
    """
    each = len(seeds) // len(which)
    rows = []
    for prompt, seed in zip(which, seeds[::each], strict=True):
      own = self.of_prompt[prompt]
      order = np.random.default_rng(int(seed)).permutation(len(own))
      places = own[order[np.arange(each) % len(own)]]
      rows += [self.completions[place] for place in places]
    unknown = [np.full(len(row), np.nan, np.float32) for row in rows]
    return Drawn(
      Ragged.of(rows),
      np.full(len(rows), np.nan, np.float32),
      Ragged.of(unknown, np.float32),
      np.array([row[-1] in self.end_ids for row in rows], bool),
    )


def _key(tokens: np.ndarray) -> bytes:
  return np.asarray(tokens, np.int32).tobytes()
