"""How far one policy has moved from another, on completions of its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offalign.generation.completions import Completions, Prompt
from offalign.judges.contest import Duel
from offalign.policy.policy import Policy


def with_nats(
  duels: Sequence[Duel],
  written: Mapping[str, Completions],
  policies: Mapping[str, Policy],
) -> list[Duel]:
  """Adds `Duel.nats` where both sides are policies whose weights are here.

  Args:
    duels: of a contest.
    written: name -> completions, drawn at temperature 1.
    policies: name -> policy, of those that are one.
  """
  known: dict[tuple[str, str], np.ndarray] = {}

  def logps(of: str, under: str, rows: list[dict[str, Any]]) -> np.ndarray:
    if (of, under) not in known:
      known[of, under] = policies[under].logps(rows, form="sft")
    return known[of, under]

  out = []
  for d in duels:
    rows = _rows(written[d.a]) if d.a in written else []
    if {d.a, d.b} <= set(policies) and len(rows) > 1:
      gaps = logps(d.a, d.a, rows) - logps(d.a, d.b, rows)
      error = float(gaps.std(ddof=1)) / len(gaps) ** 0.5
      d = dataclasses.replace(d, nats=(float(gaps.mean()), error))
    out.append(d)
  return out


def _rows(written: Completions) -> list[dict[str, Any]]:
  """Completions that ended by themselves, as data; a cut one has no end."""
  ends = [end.finished for end in written.ends] or [None] * len(written.texts)
  return [
    _row(prompt, text)
    for prompt, text, ended in zip(
      written.prompts, written.texts, ends, strict=True
    )
    if text and ended is not False
  ]


def _row(prompt: Prompt, text: str) -> dict[str, Any]:
  if isinstance(prompt, str):
    return {"prompt": prompt, "completion": text}
  turns = [{"role": role, "content": content} for role, content in prompt]
  return {
    "prompt": turns,
    "completion": [{"role": "assistant", "content": text}],
  }
