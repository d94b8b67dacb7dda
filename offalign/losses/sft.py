"""Supervised fine-tuning, on all completions or on the desirable ones."""

from typing import Literal

import jax.numpy as jnp

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores


def _needs(options: Options) -> tuple[str, ...]:
  if options["on"] == "desirable":
    return ("labels", "desirable_length_mean")
  return ("length_mean",)


@register(
  "sft",
  kind=Kind.SINGLE,
  needs=_needs,
  paper="Ouyang et al., arXiv:2203.02155, section 3.5",
  formula=r"-\log\pi(y|x) / \overline{|y|}",
)
def sft(scores: Scores, *, on: Literal["all", "desirable"] = "all") -> Array:
  """Negative log-likelihood, a mean over the tokens of the global batch.

  -logp / (mean length over the global batch): its batch mean is the sum of
  the tokens' losses over the number of tokens, whatever the accumulation.

  Args:
    scores: needs `length_mean`, or `labels` and `desirable_length_mean`;
      any K.
    on: "all", or "desirable" for the completions labelled True; the others
      then count for nothing, in the sum and in the number of tokens.

  Returns:
    [B] losses (means over K); nats per token.
  """
  if on == "desirable":
    used = jnp.where(scores.labels, scores.logps, 0.0)
    tokens = scores.desirable_length_mean
  else:
    used, tokens = scores.logps, scores.length_mean
  return -(used / jnp.maximum(tokens, 1e-6)).mean(axis=1)
