"""The demonstrations of a run, and which of them each step imitates."""

import dataclasses
import pathlib

import numpy as np

from offalign import losses
from offalign.config import Config
from offalign.config.data import DataConfig
from offalign.data import Sampler, Tokenizer
from offalign.data.batches import vocabulary
from offalign.data.reading.records import count
from offalign.errors import Sentence, concerning, marked, option, within
from offalign.models.base import Model
from offalign.training import inputs
from offalign.training.batches import Batches
from offalign.types import Batch


@dataclasses.dataclass(frozen=True)
class Demonstrations:
  """Rows that are imitated beside those of the loss.

  Attributes:
    inputs: the rows, as the loss sft has them.
    sampler: which of them a step has; one order over the whole run, also over
      rounds.
  """

  inputs: Batches
  sampler: Sampler

  @property
  def batch_size(self) -> int:
    """N, the demonstrations of a step."""
    return self.sampler.batch_size

  def tokens(self, step: int) -> int:
    """How many tokens of completions a step imitates."""
    return self.inputs.train.count_tokens(self.sampler.indices(step - 1))

  def batch(self, step: int, mine: np.ndarray) -> Batch:
    """The rows of a step, or this process's part of them.

    Args:
      step: from 1.
      mine: int, which of the N are this process's.
    """
    picked = self.sampler.indices(step - 1)
    weight = self.inputs.train.weight[picked]
    return self.inputs.batch("train", picked, weight, mine)


def read(
  config: Config,
  tokenizer: Tokenizer,
  held: tuple[object, ...],
  folder: pathlib.Path,
) -> Demonstrations | None:
  """Reads the demonstrations of a run; None where it has none.

  Args:
    config: of the run.
    tokenizer: of the run.
    held: the prompts that are held out.
    folder: of the run.

  Raises:
    UserError: for rows that cannot be read, or too few for a batch.
  """
  ptx, limits = config.ptx, config.data
  if ptx is None:
    return None
  own = DataConfig(
    path=ptx.path,
    eval_fraction=0.0,
    bad_rows=limits.bad_rows,
    max_prompt=limits.max_prompt,
    max_completion=limits.max_completion,
    vanished=limits.vanished,
    cache=limits.cache,
  )
  with concerning(option("ptx.path")), within(**{"data.path": "ptx.path"}):
    found = inputs.read(
      own, losses.get("sft"), lambda texts: tokenizer, config.seed, None, None
    )
  said = [
    Sentence(f"demonstrations: {marked(x).removeprefix('training: ')}")
    for x in found.sentences
  ]
  seen = set(held) & set(found.trained_prompts)
  if seen:
    said.append(
      Sentence(
        f"warning: {count(len(seen), 'held-out prompt')} of {len(held):,} are "
        "among the demonstrations, so that the run trains on them"
      )
    )
  size = ptx.batch_size or config.batch_size
  said.append(
    Sentence(
      f"each step imitates {size} of {len(found.train):,} demonstrations, "
      f"{ptx.coef:g} * sft beside the loss"
    )
  )
  found = dataclasses.replace(found, sentences=tuple(said))
  with concerning(option("ptx.batch_size", size)):
    sampler = found.sampler(size, config.seed)
  return Demonstrations(found, sampler)


def check(found: Demonstrations | None, model: Model) -> None:
  """Refuses demonstrations with tokens that the model does not have.

  Raises:
    UserError: naming the row.
  """
  if found is None:
    return
  rows, tokenizer = found.inputs.train, found.inputs.tokenizer
  with concerning(option("ptx.path")):
    vocabulary.check_rows(rows, tokenizer, model.vocab_size, model.spec)


def fingerprint(found: Demonstrations | None) -> str | None:
  """Of the rows and their order: 16 hex digits; None where there are none."""
  return None if found is None else found.inputs.fingerprint
