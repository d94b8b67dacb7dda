import collections
import itertools

import numpy as np
import pytest
from audit_cases import QUICK, by_prompt, rated
from scipy import stats

from offalign.audit import audit


def test_prompts_ties_and_thresholds(put, where):
  rows = rated()
  found = audit(put(rows), QUICK).measures.groups
  parts = by_prompt(rows)
  assert found.prompts == len(parts)
  assert found.sizes == collections.Counter(map(len, parts.values()))
  rewards = {p: [r["reward"] for r in part] for p, part in parts.items()}
  several = [r for r in rewards.values() if len(r) > 1]
  open_ = [r for r in several if len(set(r)) > 1]
  assert (found.several, found.open) == (len(several), len(open_))
  pairs = [c for r in rewards.values() for c in itertools.combinations(r, 2)]
  assert found.pairs == len(pairs)
  assert found.ties == sum(a == b for a, b in pairs)
  mean = np.mean([row["reward"] for row in rows])
  flipped = [(x > mean) != (x > np.mean(r)) for r in open_ for x in r]
  assert (found.in_open, found.flipped) == (len(flipped), sum(flipped))
  assert found.one_sided == sum(len({x > mean for x in r}) == 1 for r in open_)
  assert found.best == pytest.approx(sum(map(max, several)))
  assert found.middle == pytest.approx(sum(map(np.median, several)))
  assert found.spread == pytest.approx(sum(map(np.std, several)))


def test_share_of_variance_between_prompts(put, where):
  rows = rated(1)
  found = audit(put(rows), QUICK).measures.groups
  rewards = [[r["reward"] for r in part] for part in by_prompt(rows).values()]
  f, _ = stats.f_oneway(*rewards)
  sizes = np.array([len(r) for r in rewards])
  size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(sizes) - 1)
  # Of variances s (within) and s f (between prompts' means).
  assert found.share_between == pytest.approx((f - 1) / (f - 1 + size))


def test_share_between_is_not_fooled_by_few_completions(put):
  random = np.random.default_rng(2)
  rows = [
    {"prompt": f"p{i // 2}", "completion": f"c{i}", "reward": random.normal()}
    for i in range(4000)
  ]
  # The plain ratio would be about one half.
  found = audit(put(rows), QUICK).measures.groups
  assert found.between / (found.between + found.within) > 0.45
  assert found.share_between < 4 * found.share_error
  for i, row in enumerate(rows):
    row["reward"] += random.normal() if i % 2 == 0 else 0
    row["reward"] = rows[i - 1]["reward"] if i % 2 else row["reward"]
  assert audit(put(rows), QUICK).facts.share_between == pytest.approx(1)


def test_share_between_cannot_be_told_of_single_completions(put):
  rows = [
    {"prompt": f"p{i}", "completion": "c", "reward": i / 9} for i in range(50)
  ]
  report = audit(put(rows), QUICK)
  assert report.facts.share_between is None
  (note,) = [f for f in report.findings if f.kind == "between"]
  assert "cannot be told" in note.what
