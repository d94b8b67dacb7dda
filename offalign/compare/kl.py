"""KL(pi || ref) of policies, estimated on what they wrote for the prompts."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from offalign.compare.contestants import Contestant
from offalign.data import Message, Record
from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.generation.completions import Completions, Prompt
from offalign.policy import scoring
from offalign.policy.policy import BATCH, Policy


@dataclasses.dataclass(frozen=True)
class Kl:
  """An estimate of KL(pi || ref) over prompts.

  Attributes:
    mean: nats a completion; the mean of log pi(y|x) - log ref(y|x) over the
      policy's own completions at temperature 1.
    error: its standard error over prompts; NaN of one prompt.
  """

  mean: float
  error: float


def estimate(
  them: Sequence[Contestant], texts: Sequence[Completions], start: Contestant
) -> list[Kl | None]:
  """KL of each policy from the one that all started from.

  Args:
    them: the policies; one's weights are in memory at a time.
    texts: what each wrote, one completion a prompt, at temperature 1.
    start: the reference.

  Returns:
    None where a completion cannot be scored, as of another tokenizer.
  """
  with hosts.silent():
    reference = _opened(start)
    under_start = [_logps(reference, each) for each in texts]
    del reference
    found: list[Kl | None] = []
    for one, each, before in zip(them, texts, under_start, strict=True):
      after = None if before is None else _logps(_opened(one), each)
      if before is None or after is None:
        found.append(None)
        continue
      ratio = after - before
      n = len(ratio)
      error = float(np.std(ratio, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
      found.append(Kl(float(np.mean(ratio)), error))
  return found


def _opened(one: Contestant) -> Policy:
  return Policy.load(one.path, str(one.policy.step) if one.is_run else "newest")


def _turns(prompt: Prompt) -> str | tuple[Message, ...]:
  if isinstance(prompt, str):
    return prompt
  return tuple(Message(role, content) for role, content in prompt)


def _logps(policy: Policy, texts: Completions) -> np.ndarray | None:
  """Summed log-probs [N] of completions; what did not end has no end."""
  tokens = [end.tokens for end in texts.ends]
  known = [count for count in tokens if count is not None]
  records = tuple(
    Record(_turns(prompt), (text,), None, None, False, f"completion:{i}")
    for i, (prompt, text) in enumerate(
      zip(texts.prompts, texts.texts, strict=True)
    )
  )
  try:
    found = scoring.logps(
      policy.model,
      policy.params,
      policy.tokenizer,
      records,
      max_prompt=policy.about.get("config", {}).get("data.max_prompt"),
      max_completion=max(known) if known else None,
      batch_size=BATCH,
    )
  except UserError:
    return None
  return found[:, 0]
