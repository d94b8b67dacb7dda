"""Completions of an engine in the forms that the policy's own have."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from offalign.data import Tokenizer
from offalign.data.reading.parsing import messages_of
from offalign.data.reading.records import Prompt
from offalign.generation.completing import Completed
from offalign.generation.endpoint.choices import Choice


def completed(
  choices: Sequence[Choice],
  tokenizer: Tokenizer,
  prompts: Sequence[Any],
  *,
  knows_drawn: bool,
) -> list[Completed]:
  """Completions as `offalign.generation.completing.complete` gives them.

  Args:
    choices: of the engine, those of prompt i from i * K on.
    tokenizer: the policy's.
    prompts: n, each a text or (role, content) turns.
    knows_drawn: see `EndpointSampler`.
  """
  each = len(choices) // len(prompts)
  made = []
  for i, choice in enumerate(choices):
    if choice.ids is None:
      prompt = messages_of(prompts[i // each])
      tokens = len(encoded(choice, tokenizer, prompt))
      made.append(Completed(choice.text, tokens, choice.finished))
      continue
    made.append(
      Completed(
        tokenizer.decode(choice.ids),
        len(choice.ids),
        choice.finished,
        ids=choice.ids,
        logprobs=choice.logprobs if knows_drawn else None,
      )
    )
  return made


def encoded(choice: Choice, tokenizer: Tokenizer, prompt: Prompt) -> np.ndarray:
  """The tokens of a completion, int32 [T]; encoded anew where only text is.

  Args:
    choice: of the engine.
    tokenizer: the policy's.
    prompt: that is completed.
  """
  if choice.ids is not None:
    return np.array(choice.ids, np.int32)
  rows = tokenizer.encode_rows([prompt], [(0, choice.text)])
  tokens = rows.completions[0]
  ends = tokens[-1] in tokenizer.end_ids
  cut = ends and not choice.finished and len(tokens) > 1
  return tokens[:-1] if cut else tokens
