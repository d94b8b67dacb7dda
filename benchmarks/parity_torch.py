"""What `transformers` makes of a batch, row by row, without its padding.

Needs torch and transformers. Losses are written out from their papers.
"""

import copy
from typing import Any

import numpy as np

from offalign.types import Batch

BETA, TAU = 0.1, 0.7
NEW_TOKENS = 8


def prompts(rows: Batch) -> list[np.ndarray]:
  """The prompts' real tokens."""
  return [p[m] for p, m in zip(rows.prompts, rows.prompt_mask, strict=True)]


def value_head(width: int) -> np.ndarray:
  """[d] a head that is not zero, so that V moves its trunk."""
  return np.random.default_rng(1).normal(size=width).astype(np.float32)


def logits(theirs: Any, rows: Batch) -> list[list[Any]]:
  """Theirs: a list over B of lists over K of [t, V], without padding."""
  return [
    [
      _row(theirs, prompt, y[m])[0]
      for y, m in zip(completions, masks, strict=True)
    ]
    for prompt, completions, masks in zip(
      prompts(rows), rows.completions, rows.completion_mask, strict=True
    )
  ]


def _row(theirs: Any, prompt: np.ndarray, completion: np.ndarray) -> Any:
  """Logits [t, V] of one completion, and the state [d] after the prompt."""
  import torch

  def ids(*parts: Any) -> Any:
    return torch.tensor(np.concatenate(parts)[None].astype(np.int64))

  if theirs.config.is_encoder_decoder:
    start = [theirs.config.decoder_start_token_id]
    out = theirs(
      input_ids=ids(prompt),
      decoder_input_ids=ids(start, completion[:-1]),
      output_hidden_states=True,
    )
    state = out.decoder_hidden_states[-1][0, 0]
    if getattr(theirs.config, "scale_decoder_outputs", False):
      state = state * theirs.config.d_model**-0.5
    return out.logits[0], state
  out = theirs(input_ids=ids(prompt, completion), output_hidden_states=True)
  last = len(prompt) - 1
  return out.logits[0, last:-1], out.hidden_states[-1][0, last]


def logps(theirs: Any, rows: Batch) -> Any:
  """Theirs: [B, K]."""
  import torch

  found = [
    torch.stack(
      [
        torch.log_softmax(y, -1)
        .gather(1, torch.tensor(ids[: len(y), None].astype(np.int64)))
        .sum()
        for y, ids in zip(row, completions, strict=True)
      ]
    )
    for row, completions in zip(
      logits(theirs, rows), rows.completions, strict=True
    )
  ]
  return torch.stack(found)


def dpo(
  theirs: Any, rows: Batch, weights: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
  """DPO's gradient: arXiv:2305.18290, equation 7."""
  import torch

  rho = logps(theirs, rows) - torch.tensor(rows.ref_logps)
  loss = torch.nn.functional.softplus(-BETA * (rho[:, 0] - rho[:, 1])).mean()
  return {"policy": _grads(theirs, loss, weights)}


def dro_v(
  theirs: Any, rows: Batch, weights: tuple[str, ...], network: Any
) -> dict[str, dict[str, Any]]:
  """DRO-V's gradients: arXiv:2405.19107, equations 7 and 8 (over tau)."""
  import torch

  trunk = theirs if network == "shared" else copy.deepcopy(theirs)
  sums = logps(theirs, rows)
  states = [
    _row(trunk, prompt, rows.completions[0, 0])[1] for prompt in prompts(rows)
  ]
  head = torch.tensor(value_head(states[0].shape[0]))
  values = (torch.stack(states) @ head + 1.0)[:, None]
  rho = sums - torch.tensor(rows.ref_logps)
  delta = (torch.tensor(rows.rewards) - values - TAU * rho).detach()
  policy_loss = (-delta * sums).mean()
  value_loss = (-delta * values).mean()
  if network == "shared":
    return {"policy": _grads(theirs, policy_loss + value_loss, weights)}
  return {
    "policy": _grads(theirs, policy_loss, weights),
    "value": _grads(trunk, value_loss, weights),
  }


def _grads(theirs: Any, loss: Any, weights: tuple[str, ...]) -> dict[str, Any]:
  theirs.zero_grad()
  loss.backward()
  named = dict(theirs.named_parameters())
  return {name: named[name].grad.numpy().copy() for name in weights}


def greedy(theirs: Any, prompt: np.ndarray) -> list[int]:
  """The tokens that greedy generation gives, EOS included."""
  import torch

  ids = torch.tensor(prompt[None].astype(np.int64))
  out = theirs.generate(
    ids,
    attention_mask=torch.ones_like(ids),
    do_sample=False,
    num_beams=1,
    max_new_tokens=NEW_TOKENS,
    use_cache=False,  # sized by the encoder's depth, it breaks on unequal ones
  )[0].tolist()
  return out[1 if theirs.config.is_encoder_decoder else len(prompt) :]
