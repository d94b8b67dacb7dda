"""Export a policy, and let `transformers` score what the policy wrote."""

import importlib.util
import pathlib
import shutil
from typing import Any

import numpy as np

from benchmarks.sentiment.folder import Completion
from benchmarks.sentiment.sizes import Sizes
from offalign import Policy


def greatest_difference(
  policy: Policy, found: list[Completion], out: pathlib.Path, sizes: Sizes
) -> float | None:
  """Exports a policy, and compares log-probs of completions.

  `transformers` tokenises opening and completion with the exported tokenizer.
  A completion of fewer tokens than the limit is left out, since its end would
  have to be added by hand.

  Args:
    policy: a run's.
    found: completions; the first `sizes.reloaded` that fit are scored.
    out: a folder for the export, which is deleted again.
    sizes: how many, and the limit of tokens.

  Returns:
    The greatest absolute difference in nats a completion; None where
    `transformers` is not installed, or no completion fits.
  """
  if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
    return None
  import transformers

  shutil.rmtree(out, ignore_errors=True)
  policy.export(out, verbose=False)
  tokenizer: Any = transformers.AutoTokenizer.from_pretrained(out)
  model: Any = transformers.AutoModelForCausalLM.from_pretrained(
    out, dtype="float32"
  ).eval()
  rows, theirs = [], []
  for each in found:
    prompt = tokenizer(each.prompt).input_ids
    ids = tokenizer(each.prompt + each.completion).input_ids
    ids = ids[: len(prompt) + sizes.tokens]
    whole = len(ids) == len(prompt) + sizes.tokens
    if not whole or ids[: len(prompt)] != prompt:
      continue
    rows.append({"prompt": each.prompt, "completion": each.completion})
    theirs.append(_logp(model, ids, len(prompt)))
    if len(rows) == sizes.reloaded:
      break
  shutil.rmtree(out)
  if not rows:
    return None
  ours = policy.logps(rows, form="sft", max_completion=sizes.tokens)
  return float(np.abs(ours - np.array(theirs)).max())


def _logp(model: Any, ids: list[int], begin: int) -> float:
  """Log-prob of the tokens from `begin` on."""
  import torch

  with torch.no_grad():
    logits = model(torch.tensor([ids])).logits[0, begin - 1 : -1]
  each = torch.log_softmax(logits.double(), dim=-1)
  chosen = torch.tensor(ids[begin:])[:, None]
  return float(each.gather(1, chosen).sum())
