"""Generate text: prompts in, completions out, with the policy's tokenizer."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from offalign.data import Tokenizer
from offalign.data.batches import vocabulary
from offalign.data.reading.parsing import messages_of
from offalign.data.text.ragged import Ragged
from offalign.errors import UserError, option
from offalign.generation import slots
from offalign.models.base import Model
from offalign.types import Params


@dataclasses.dataclass(frozen=True)
class Completed:
  """A generated completion; `str` is its text.

  Attributes:
    text: the completion without its end-of-text token.
    tokens: number of tokens, the end-of-text token included.
    finished: whether the completion ended by itself and was not cut.
    prompt_cut: whether its prompt was longer than the run's limit, and only
      its end was read.
    ids: its tokens, the one that ends it included.
    logprobs: of each token, under the distribution that it was drawn from,
      with its temperature, top_k and top_p; nats. None at temperature 0,
      which draws nothing.
  """

  text: str
  tokens: int
  finished: bool
  prompt_cut: bool = False
  ids: tuple[int, ...] = dataclasses.field(default=(), repr=False)
  logprobs: tuple[float, ...] | None = dataclasses.field(
    default=None, repr=False
  )

  def __str__(self) -> str:
    return self.text


def encode(
  tokenizer: Tokenizer, prompts: Sequence[Any], max_prompt: int | None
) -> tuple[Ragged, int]:
  """Tokenises prompts; returns the tokens and how many prompts were cut.

  Args:
    tokenizer: the policy's tokenizer.
    prompts: each a text, or (role, content) turns.
    max_prompt: longest prompt in tokens; a longer one keeps its end. None =
      no limit.

  Raises:
    UserError: for a prompt without any token, or one that the tokenizer
      refuses.
  """
  made, cut = tokenizer.encode_prompts(
    [messages_of(prompt) for prompt in prompts], max_prompt
  )
  if not all(map(len, made)):
    raise UserError("a prompt has no token; remove empty prompts")
  return Ragged.of(made), cut


def which_cut(
  tokenizer: Tokenizer, prompts: Sequence[Any], encoded: Ragged
) -> np.ndarray:
  """Which prompts were cut, bool [n].

  Args:
    tokenizer: the policy's tokenizer.
    prompts: as given to `encode`.
    encoded: what `encode` made of them.
  """
  whole, _ = encode(tokenizer, prompts, None)
  return np.asarray(whole.lengths > encoded.lengths)


def unfinished(done: Sequence[Completed], name: str = "max_new_tokens") -> str:
  """How many completions did not end, as a sentence; "" where all did.

  Args:
    done: the completions, all made with one limit.
    name: of the option that sets the limit.
  """
  cut = [x.tokens for x in done if not x.finished]
  if not cut:
    return ""
  return (
    f"{len(cut):,} of {len(done):,} completions did not end within "
    f"{max(cut):,} tokens: {option(name)} sets another limit"
  )


def first_seed(stream: str) -> int:
  """The seed of the first prompt of a random stream; the next are its heirs."""
  return zlib.crc32(stream.encode()) % 2**30


def complete(
  model: Model,
  params: Params,
  tokenizer: Tokenizer,
  prompts: Ragged,
  *,
  stream: str,
  max_new_tokens: int,
  batch_size: int,
  samples: int = 1,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
  after_batch: Callable[[], None] = lambda: None,
) -> list[Completed]:
  """Generates completions of each prompt.

  Args:
    model: the policy's model.
    params: the policy's params.
    tokenizer: the policy's tokenizer.
    prompts: tokens of n prompts, none empty.
    stream: name of the random stream: prompt i gets the same random numbers
      each time, and those of different streams are independent.
    max_new_tokens: longest completion in tokens.
    batch_size: completions that are made at a time.
    samples: completions of each prompt; the first is the same however many
      there are, but for rounding.
    temperature: see `sample`.
    top_k: see `sample`.
    top_p: see `sample`.
    after_batch: called now and then; what it raises ends the sampling.

  Returns:
    Those of prompt i from i * samples on.

  Raises:
    UserError: for a prompt with a token that the model does not have.
  """
  vocabulary.check_tokens(
    prompts.tokens, tokenizer, model.vocab_size, model.spec
  )
  n = len(prompts)
  firsts = [first_seed(stream + (f"/{k}" if k else "")) for k in range(samples)]
  ends = list(tokenizer.end_ids)
  made = slots.complete(
    model,
    params,
    prompts,
    np.arange(n).repeat(samples),
    seeds=np.add.outer(np.arange(n), firsts).reshape(-1),
    slots=min(batch_size, n * samples),
    max_new_tokens=max_new_tokens,
    eos_id=ends,
    temperature=temperature,
    top_k=top_k,
    top_p=top_p,
    after=after_batch,
  )
  return [
    Completed(
      tokenizer.decode(x.tokens),
      len(x.tokens),
      int(x.tokens[-1]) in ends,
      ids=tuple(x.tokens.tolist()),
      logprobs=None if temperature == 0 else tuple(x.token_logps.tolist()),
    )
    for x in made
  ]
