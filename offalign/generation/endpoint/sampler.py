"""Ask an engine for completions: in the order of the prompts, many at a time.

The engine is sent the tokens of each prompt, with a seed of its own, and asked
for all of its completions at once, with their token ids and log-probs.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from offalign.data import Tokenizer
from offalign.data.text.ragged import Ragged
from offalign.endpoints import address
from offalign.endpoints.answers import Answers, key_of
from offalign.endpoints.client import Capped, Client, Failed, Patience
from offalign.endpoints.crowd import ask_all
from offalign.errors import UserError, printable
from offalign.generation.completing import first_seed
from offalign.generation.endpoint import choices
from offalign.generation.endpoint.choices import Choice, Impossible
from offalign.generation.endpoint.options import Engine


class EndpointSampler:
  """Completes prompts by an engine; see `Engine`.

  Attributes:
    options: which engine, and how it is asked.
  """

  def __init__(
    self,
    options: Engine,
    tokenizer: Tokenizer,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    cache: str | pathlib.Path | None = None,
    patience: Patience | None = None,
  ):
    """Reads the key, and opens the cache.

    Args:
      options: which engine, and how it is asked.
      tokenizer: the policy's.
      max_new_tokens: longest completion in tokens.
      temperature: see `offalign.generation.sampling.sample`.
      top_k: likewise.
      top_p: likewise.
      cache: holds the answers where the options name no file; None = memory.
      patience: instead of that of the options.
    """
    self.options = options
    self._tokenizer, self._longest = tokenizer, max_new_tokens
    file = options.cache or cache
    self._answers = Answers(file)
    self._kept = file is not None
    self._drawing: dict[str, Any] = {
      "max_tokens": max_new_tokens,
      # All are said, since engines have defaults of their own, and those of
      # the model's generation_config.json.
      "temperature": temperature,
      "top_p": 1.0 if top_p is None else top_p,
      "top_k": -1 if top_k is None else top_k,
      "min_p": 0.0,
      "repetition_penalty": 1.0,
      "logprobs": 1,
      "return_token_ids": True,
      "return_tokens_as_token_ids": True,
      "stop_token_ids": list(tokenizer.end_ids),
    }
    self._plain = temperature == 1 and top_k is None and top_p is None
    self._greedy = temperature == 0
    self._client = Client(
      options.target,
      (os.environ.get(options.key_env) or "").strip() or None,
      patience or Patience(timeout=options.timeout, retries=options.retries),
      max_calls=options.max_calls,
      local=address.is_local(options.url),
      who="the sampler",
      kept=self._kept,
      read=choices.pack,
      largest=options.max_bytes,
    )

  @property
  def knows_drawn(self) -> bool:
    """Whether the log-probs told are of the distribution drawn from."""
    if self._greedy:
      return False
    return self._plain or self.options.logprobs == "processed"

  @property
  def knows_own(self) -> bool:
    """Whether the log-probs told are the model's, at temperature 1."""
    return self._plain or self.options.logprobs == "raw"

  def close(self) -> None:
    """Closes the connections and the cache."""
    self._client.close()
    self._answers.close()

  def complete(
    self,
    prompts: Ragged,
    each: int,
    *,
    stream: str,
    watch: Callable[[], None] = lambda: None,
  ) -> list[Choice]:
    """Completes prompts, each several times.

    Args:
      prompts: tokens of n prompts, none empty.
      each: completions of a prompt.
      stream: name of the random stream: prompt i is sent the same seed each
        time.
      watch: called now and then; what it raises ends the sampling.

    Returns:
      Those of prompt i from i * each on.

    Raises:
      UserError: where the engine fails, or answers what cannot be.
    """
    bodies = [
      {
        "model": self.options.model,
        "prompt": prompts[i].tolist(),
        "n": each,
        "seed": first_seed(f"{stream}/{i}"),
        **self._drawing,
      }
      for i in range(len(prompts))
    ]
    found = ask_all(
      self._client,
      lambda body: self._one(body, each),
      bodies,
      workers=self.options.workers,
      desc="sampling",
      unit="prompt",
      watch=watch,
    )
    return [choice for of_prompt in found for choice in of_prompt]

  def _one(self, body: dict[str, Any], each: int) -> list[Choice]:
    """The completions of one prompt."""
    target = self.options.target
    key = key_of(target, body)
    answer = self._answers.get(key)
    known = answer is not None
    try:
      answer = answer or self._client.ask(body)
      found = choices.unpack(
        answer,
        each,
        ends=self._tokenizer.end_ids,
        vocab_size=self._tokenizer.vocab_size,
        longest=self._longest,
      )
    except Capped:
      raise UserError(
        f"the sampler at {target} was to be called more than max_calls="
        f"{self.options.max_calls} times{self._goes_on}"
      ) from None
    except Failed as error:
      raise UserError(
        f"the sampler at {target} failed ({printable(str(error))})"
        f"{self._goes_on}"
      ) from None
    except Impossible as error:
      raise UserError(f"the sampler at {target} {error}") from None
    if not known:
      self._answers.put(key, answer)
    return found

  @property
  def _goes_on(self) -> str:
    if not self._kept:
      return ""
    return "; its answers so far are kept, and the same command goes on"
