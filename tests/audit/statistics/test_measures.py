import collections
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from offalign import data
from offalign.audit import AuditConfig, audit
from offalign.audit.scan import entries
from offalign.audit.statistics import streaming

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


@pytest.fixture(params=["memory", "disk"])
def where(request, monkeypatch):
  if request.param == "disk":
    monkeypatch.setattr(entries, "HELD", 7)
  return request.param


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


def test_rewards_and_lengths(put, where):
  rows = rated(3)
  report = audit(put(rows), QUICK)
  rewards = np.array([r["reward"] for r in rows])
  (spread,) = report.measures.values
  words = np.array([len(r["completion"].split()) for r in rows])
  for found, numbers in ((spread, rewards), (report.measures.words[1], words)):
    assert found.n == len(numbers)
    assert found.mean == pytest.approx(numbers.mean())
    assert found.std == pytest.approx(numbers.std())
    assert (found.low, found.high) == (numbers.min(), numbers.max())
    assert found.median == np.median(numbers)
    below = sorted(numbers)[math.ceil(0.95 * len(numbers)) - 1]
    assert found.p95 == below
    counts, edges = np.histogram(numbers, 10)
    assert found.counts == tuple(counts)
    assert found.edges == pytest.approx(edges)
  expected = stats.spearmanr(words, rewards).statistic
  assert report.measures.length_correlation == pytest.approx(expected)
  x, y = [], []
  for part in by_prompt(rows).values():
    lengths = [len(r["completion"].split()) for r in part]
    values = [r["reward"] for r in part]
    x += list(lengths - np.mean(lengths))
    y += list(values - np.mean(values))
  inside = report.measures.groups.length_correlation
  assert inside == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_repeats(put, where):
  rows = rated(4)
  found = audit(put(rows), QUICK).repeats
  table = data.load(put(rows))
  assert found.rows.count == table.summary.counts["duplicate_rows"]
  texts = collections.defaultdict(list)
  for row in rows:
    texts[row["prompt"], row["completion"]].append(row["reward"])
  assert found.texts == sum(len(r) > 1 for r in texts.values())
  conflicts = sum(len(set(r)) > 1 for r in texts.values())
  assert found.conflicts.count == conflicts > 0


def test_contradicting_pairs(put, where):
  def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}

  rows = [pair("p", "a", "b"), pair("q", "a", "b"), pair("p", "c", "a")]
  rows += [pair("p", "b", "a"), pair("p", "a", "a"), pair("q", "b", "c")]
  rows += [pair("r", f"x{i}", f"y{i}") for i in range(9)]
  report = audit(put(rows), QUICK)
  (found,) = [f for f in report.findings if f.kind == "contradictions"]
  assert found.count == 1
  assert found.where[0].endswith("row 3 is the reverse of row 0")
  assert report.facts.pairs == len(rows) - 1
  assert report.measures.groups.sizes == {3: 2, 18: 1}


def test_prompts_that_are_nearly_the_same(put, where):
  prompts = ["What is it?", "what  is it?\n", "What is it", "What is it?"]
  rows = [{"prompt": p, "completion": f"{i}"} for i, p in enumerate(prompts)]
  rows += [{"prompt": f"p{i}", "completion": "c"} for i in range(20)]
  report = audit(put(rows), QUICK)
  (found,) = [f for f in report.findings if f.kind == "near_prompts"]
  assert found.count == 1
  assert found.where[0].endswith("row 1 is like row 0")


def test_leakage(put, where):
  train = [{"prompt": f"P {i}", "completion": f"c{i}"} for i in range(30)]
  test = [
    {"prompt": "P 3", "completion": "c3", "reward": 0.0},
    {"prompt": "P 3", "completion": "other", "reward": 1.0},
    {"prompt": "p  4", "completion": "c4", "reward": 1.0},
  ]
  test += [
    {"prompt": f"q{i}", "completion": "c", "reward": 0.0} for i in range(27)
  ]
  report = audit(
    put(train, "train.jsonl"),
    AuditConfig(methods=False, test=put(test, "test.jsonl")),
  )
  exact, near = (
    next(f for f in report.findings if f.kind == kind)
    for kind in ("leakage", "near_leakage")
  )
  assert "1 prompt of the test set's 29 (3.4%)" in exact.what
  assert "1 completions with them" in exact.what
  assert exact.where[0].endswith("train.jsonl, row 3")
  assert "test.jsonl, row 0 is in training" in exact.where[0]
  assert "test.jsonl, row 2 is in training" in near.where[0]
  assert report.status() == 1


def test_no_leakage_where_there_is_none(put):
  train = [{"prompt": f"p{i}", "completion": "c"} for i in range(9)]
  test = [{"prompt": f"q{i}", "completion": "c"} for i in range(9)]
  config = AuditConfig(methods=False, test=put(test, "test.jsonl"))
  report = audit(put(train), config)
  assert report.status() == 0
  assert report.leakage.prompts == 9


def test_parts_that_are_full_are_said_to_be_estimates(put, monkeypatch):
  monkeypatch.setattr(entries, "HELD", 8)
  monkeypatch.setattr(entries, "LIMIT", 10)
  rows = [
    {"prompt": "", "completion": f"c{i}", "reward": float(i)} for i in range(50)
  ]
  report = audit(put(rows), QUICK)
  assert report.measures.estimated == 40
  assert report.seen.completions == 50
  assert "sampled" not in {f.kind for f in report.findings}
  (note,) = [f for f in report.findings if f.kind == "estimated"]
  assert "40 completions" in note.what


def test_a_sample_is_said_to_be_one(put, monkeypatch):
  monkeypatch.setattr(streaming, "SAMPLE", 100)
  report = audit(put(rated(prompts=60)), QUICK)
  (note,) = [f for f in report.findings if f.kind == "sampled"]
  assert "100 completions" in note.what
  mean = np.mean([row["reward"] for row in rated(prompts=60)])
  assert report.measures.values[0].mean == pytest.approx(mean)


def test_moments_of_numbers_far_from_zero():
  numbers = 1e9 + np.random.default_rng(5).normal(size=10_000)
  found = streaming.Moments()
  for block in np.array_split(numbers, 7):
    found.add(block)
  # 1e9 has 16 digits, of which squares about 0 would lose all.
  assert found.std == pytest.approx(numbers.std(), rel=1e-6)


def test_a_sample_is_uniform_and_of_bounded_size(monkeypatch):
  monkeypatch.setattr(streaming, "SAMPLE", 1000)
  sample = streaming.Sample(np.dtype("i8"))
  for block in np.array_split(np.arange(40_000), 23):
    sample.add(block)
  assert len(sample.rows) == 1000
  assert not sample.exact
  assert len(set(sample.rows.tolist())) == 1000
  assert stats.kstest(sample.rows / 40_000, "uniform").pvalue > 1e-3


def test_runs():
  starts, sizes = entries.runs(np.array([1, 1, 2, 2]), np.array([0, 0, 0, 1]))
  assert starts.tolist() == [0, 2, 3]
  assert sizes.tolist() == [2, 1, 1]
