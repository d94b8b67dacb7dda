"""Supervised fine-tuning, on all completions or on the desirable ones."""

from typing import Literal

import jax.numpy as jnp

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores


def _kind(options: Options) -> Kind:
  return Kind.PAIR if options["on"] == "chosen" else Kind.SINGLE


def _needs(options: Options) -> tuple[str, ...]:
  if options["on"] == "chosen":
    return ("chosen_length_mean",)
  if options["on"] == "desirable":
    return ("labels", "desirable_length_mean")
  return ("length_mean",)


@register(
  "sft",
  kind=_kind,
  needs=_needs,
  on_pairs=(("on", "chosen"),),
  paper="Ouyang et al., arXiv:2203.02155, section 3.5",
  when=(
    "Demonstrations, or the stage before any other loss; on=desirable "
    "trains on thumbs-up alone, the baseline that every method on thumbs "
    "should beat."
  ),
  formula=r"-\log\pi(y|x) / \overline{|y|}",
)
def sft(
  scores: Scores, *, on: Literal["all", "desirable", "chosen"] = "all"
) -> Array:
  """Negative log-likelihood, a mean over the tokens of the global batch.

  -logp / (mean length over the global batch): its batch mean is the sum of
  the tokens' losses over the number of tokens, whatever the accumulation.

  Args:
    scores: needs `length_mean`, or `labels` and `desirable_length_mean`;
      any K. Or `chosen_length_mean` and pairs, chosen first.
    on: "all"; "desirable" for the completions labelled True; or "chosen" for
      the chosen completions of pairs, which "all" becomes in a sum with a
      loss on pairs. Other completions count neither in the sum nor in the
      number of tokens.

  Returns:
    [B] losses (means over K); nats per token.
  """
  if on == "chosen":
    return -scores.logps[:, 0] / jnp.maximum(scores.chosen_length_mean, 1e-6)
  if on == "desirable":
    used = jnp.where(scores.labels, scores.logps, 0.0)
    tokens = scores.desirable_length_mean
  else:
    used, tokens = scores.logps, scores.length_mean
  return -(used / jnp.maximum(tokens, 1e-6)).mean(axis=1)
