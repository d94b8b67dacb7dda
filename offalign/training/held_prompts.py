"""Keep held-out prompts apart from those trained on, by tokens too."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from offalign.config.data import DataConfig
from offalign.data import Tokenizer, TokenRows
from offalign.data.batches.equal_tokens import digest
from offalign.data.batches.least_limits import causes
from offalign.data.reading.records import Prompt
from offalign.errors import UserError, option, qualify
from offalign.training import sources
from offalign.training.sources import Source
from offalign.training.split import Split

_EXAMPLES = 1000  # prompts whose cause is looked for


def shared(
  found: Sequence[Source],
  config: DataConfig,
  tokenizer: Tokenizer,
  train: TokenRows,
  held_out: TokenRows | None,
) -> dict[Prompt, int]:
  """Held-out prompts that training has as tokens, and not as text.

  Args:
    found: the records.
    config: the limit on prompts.
    tokenizer: makes the tokens.
    train: the rows that are trained on.
    held_out: the held-out rows of the same view, if there are any.

  Returns:
    Each such prompt, and the hash of its tokens.
  """
  trained = dict.fromkeys(r.prompt for each in found for r in each.train)
  asked = dict.fromkeys(r.prompt for each in found for r in each.held)
  new = [prompt for prompt in asked if prompt not in trained]
  if not new:
    return {}
  known = held_out.prompt_digests if held_out else None
  if known is not None and len(known) == len(asked):
    assert train.prompt_digests is not None
    if not np.isin(known, train.prompt_digests).any():
      return {}
  met = set(_hashes(list(trained), tokenizer, config))
  hashes = _hashes(new, tokenizer, config)
  return {
    prompt: hashed
    for prompt, hashed in zip(new, hashes, strict=True)
    if hashed in met
  }


def apart(
  found: Sequence[Source],
  config: DataConfig,
  tokenizer: Tokenizer,
  split: Split,
  said: list[str],
) -> tuple[Source, ...]:
  """Holds out anew: prompts of the same tokens go to the same side.

  Raises:
    UserError: where all prompts are the same tokens.
  """
  whole_sources = [
    dataclasses.replace(each, train=(*each.train, *each.held), held=())
    for each in found
  ]
  prompts = list(
    dict.fromkeys(r.prompt for each in whole_sources for r in each.train)
  )
  first: dict[int, Prompt] = {}
  hashes = _hashes(prompts, tokenizer, config)
  alike: Mapping[Prompt, Prompt] = {
    prompt: first.setdefault(hashed, prompt)
    for prompt, hashed in zip(prompts, hashes, strict=True)
  }
  if len(first) < 2:
    why = qualify(_why([prompts], tokenizer, config), "data")
    raise UserError(
      f"the {len(prompts):,} prompts differ as text and are the same tokens, "
      f"so that none can be held out: {why}; or set "
      f"{option('data.eval_fraction', 0)}"
    )
  return sources.hold_out(
    whole_sources, config.eval_fraction, split, said, alike
  )


def leaks(
  prompts: Mapping[Prompt, int],
  found: Sequence[Source],
  config: DataConfig,
  tokenizer: Tokenizer,
) -> str:
  """Says how many held-out rows have a training prompt as tokens alone.

  Args:
    prompts: see `shared`; one at least.
    found: the records.
    config: the limit on prompts.
    tokenizer: makes the tokens.
  """
  held = [record for each in found for record in each.held]
  hit = sum(record.prompt in prompts for record in held)
  examples = list(prompts)[:_EXAMPLES]
  wanted = {prompts[prompt]: prompt for prompt in examples}
  trained = list(dict.fromkeys(r.prompt for each in found for r in each.train))
  groups = [
    [prompt, wanted[hashed]]
    for prompt, hashed in zip(
      trained, _hashes(trained, tokenizer, config), strict=True
    )
    if hashed in wanted
  ]
  why = _why(groups[:_EXAMPLES], tokenizer, config)
  return (
    f"warning: {hit:,} of {len(held):,} held-out rows have a prompt that is a "
    "prompt of the training data as tokens, though not as text, so held-out "
    f"figures flatter the run: {qualify(why, 'data')}"
  )


def _hashes(
  prompts: Sequence[Prompt], tokenizer: Tokenizer, config: DataConfig
) -> list[int]:
  encoded, _ = tokenizer.encode_prompts(prompts, config.max_prompt)
  return [digest(tokens.tobytes()) for tokens in encoded]


def _why(
  groups: Sequence[Sequence[Prompt]], tokenizer: Tokenizer, config: DataConfig
) -> str:
  """Why the prompts of each group are the same tokens."""
  found = causes(
    tokenizer,
    ([(prompt, "") for prompt in group[:_EXAMPLES]] for group in groups),
  )
  return found.sentence(config.max_prompt, config.max_completion)
