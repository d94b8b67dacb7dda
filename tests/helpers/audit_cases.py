"""Rows with repeats and ties, for tests of the audit's numbers."""

import collections

import numpy as np

from offalign.audit import AuditConfig

QUICK = AuditConfig(methods=False)


def rated(seed=0, prompts=30, levels=5):
  """Rows of prompts with 1 to 6 completions, in no order, with repeats."""
  random = np.random.default_rng(seed)
  rows = []
  for p in range(prompts):
    base = random.normal()
    for k in range(random.integers(1, 7)):
      reward = round((base + random.normal()) * levels) / levels
      text = "w " * int(random.integers(1, 9)) + f"{k % 4}"
      rows.append({"prompt": f"p{p}", "completion": text, "reward": reward})
  rows += [rows[3], rows[5], {**rows[7], "reward": 9.25}]
  return [rows[i] for i in random.permutation(len(rows))]


def by_prompt(rows):
  found = collections.defaultdict(list)
  for row in rows:
    found[row["prompt"]].append(row)
  return found
