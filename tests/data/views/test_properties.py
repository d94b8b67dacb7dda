"""No completion is invented or lost, whatever the data."""

import collections
import itertools
from typing import get_args

import hypothesis
from hypothesis import strategies as st

from offalign import data
from offalign.data import Record
from offalign.data.views.pairs import PairRule
from offalign.errors import UserError
from offalign.types import Kind

prompts = st.sampled_from(["", "x", "y", "z"])
texts = st.sampled_from(["", "a", "b", "c", "d"])
rewards = st.sampled_from([0.0, 0.5, 1.0, -2.0])


@st.composite
def tables(draw):
  """Records of a random form, and their completions with provenance."""
  form = draw(st.sampled_from(["rewards", "labels", "pairs", "rated pairs"]))
  records = []
  for row in range(draw(st.integers(1, 8))):
    pair = "pairs" in form
    size = 2 if pair else draw(st.integers(1, 5))
    many = lambda values, size=size: tuple(
      draw(st.lists(values, min_size=size, max_size=size))
    )
    records.append(
      Record(
        draw(prompts),
        many(texts),
        many(rewards) if form in ("rewards", "rated pairs") else None,
        many(st.booleans()) if form == "labels" else None,
        pair,
        f"f:{row}",
      )
    )
  return records


def origins(records):
  """source of a completion -> (prompt, text, logged reward)."""
  found = {}
  for record in records:
    for k, text in enumerate(record.completions):
      single = len(record.completions) == 1
      source = record.source if single else f"{record.source}[{k}]"
      reward = None if record.rewards is None else record.rewards[k]
      found[source] = (record.prompt, text, reward)
  return found


def check_provenance(view, records):
  known = origins(records)
  for row in view.rows:
    for text, source in zip(row.completions, row.sources, strict=True):
      for part in source.split(","):
        assert known[part][:2] == (row.prompt, text)
    for text, places in zip(row.completions, row.origins, strict=True):
      for file, number, k in places:
        assert file == "f"
        assert records[number].prompt == row.prompt
        assert records[number].completions[k] == text
  counts = view.summary.counts
  used = {source for row in view.rows for source in row.sources}
  assert counts["completions_used"] == len(used)
  assert counts["completions"] == sum(len(r.completions) for r in records)
  unused = sum(view.summary.unused.values())
  assert counts["completions_used"] + unused == counts["completions"]


def make(records, kind, needs=(), **options):
  """A view; discards tables of which nothing can be left."""
  try:
    return data.view(records, kind, needs, data.ViewOptions(**options))
  except UserError as error:
    assert "no row is left" in str(error)  # noqa: PT017
    hypothesis.reject()


@hypothesis.given(tables(), st.sampled_from([(), ("rewards",), ("labels",)]))
def test_single(records, needs):
  view = make(records, Kind.SINGLE, needs)
  check_provenance(view, records)
  counts = view.summary.counts
  left_out = counts.get("completions_uncompared", 0) + counts.get(
    "completions_undecided", 0
  )
  sides = sum(len(record.completions) for record in records)
  assert len(view.rows) + left_out + counts.get("sides_merged", 0) == sides
  used = [s for row in view.rows for s in row.sources[0].split(",")]
  assert len(used) == len(set(used))
  if not left_out:
    assert set(used) == set(origins(records))
  for row in view.rows:
    for need in needs:
      assert len(getattr(row, need)) == 1
    if not records[0].ranked and records[0].rewards is not None:
      assert row.rewards == (origins(records)[row.sources[0]][2],)


@hypothesis.given(
  tables(),
  st.sampled_from([None, *get_args(PairRule)]),
  st.booleans(),
)
def test_pairs(records, rule, needs_rewards):
  if records[0].ranked:
    rule = None
    # Without scores, such pairs are refused: see test_margins.py.
    needs_rewards = needs_rewards and records[0].rewards is not None
  needs = ("rewards",) if needs_rewards else ()
  view = make(records, Kind.PAIR, needs, pairs=rule)
  check_provenance(view, records)
  counts = view.summary.counts
  dropped = counts.get("ties_dropped", 0) + counts.get("same_text_dropped", 0)
  sizes = collections.Counter()
  for record in records:
    sizes[record.prompt] += len(record.completions)
  possible = {
    None: lambda n: n * (n - 1) // 2,
    "all": lambda n: n * (n - 1) // 2,
    "best_worst": lambda n: int(n > 1),
    "best_random": lambda n: int(n > 1),
    "adjacent": lambda n: n // 2,
    "random": lambda n: n // 2,
  }[rule]
  expected = (
    len(records)
    if records[0].ranked
    else sum(possible(n) for n in sizes.values())
  )
  assert len(view.rows) + dropped == expected
  for row in view.rows:
    assert row.sources[0] != row.sources[1]
    if not records[0].ranked and row.rewards is not None:
      assert row.rewards[0] >= row.rewards[1]
      assert needs_rewards or row.rewards[0] > row.rewards[1]
    if not needs_rewards:
      assert row.completions[0] != row.completions[1]
  used = {s for row in view.rows for s in row.sources}
  if not records[0].ranked:
    unused = counts.get("completions_unused", 0)
    assert len(used) + unused == sum(sizes.values())
  if rule not in (None, "all"):
    assert len(used) == 2 * len(view.rows)


@hypothesis.given(tables(), st.one_of(st.none(), st.integers(2, 4)))
def test_groups(records, size):
  view = make(records, Kind.GROUP, ("rewards",), group_size=size)
  check_provenance(view, records)
  counts = view.summary.counts
  sides = sum(len(record.completions) for record in records)
  left_out = sum(
    counts.get(name, 0)
    for name in (
      "sides_merged",
      "completions_uncompared",
      "completions_left_out",
      "completions_left_over",
    )
  )
  k = counts["group_size"]
  assert size in (None, k)
  assert all(len(row.completions) == k for row in view.rows)
  assert len(view.rows) * k + left_out == sides
  used = list(
    itertools.chain.from_iterable(
      s.split(",") for row in view.rows for s in row.sources
    )
  )
  assert len(used) == len(set(used))


@hypothesis.given(
  st.lists(prompts | st.text(max_size=3), min_size=2, max_size=20),
  st.floats(0.01, 0.99),
  st.integers(0, 5),
)
def test_split_leaks_no_prompt(names, fraction, seed):
  records = [
    Record(name, ("a",), None, None, False, f"f:{i}")
    for i, name in enumerate(names)
  ]
  try:
    train, held = data.split_by_prompt(records, fraction, seed=seed)
  except UserError:
    distinct = len(set(names))
    assert round(fraction * distinct) in (0, distinct)
    return
  assert not {r.prompt for r in train} & {r.prompt for r in held}
  assert sorted(r.source for r in (*train, *held)) == sorted(
    r.source for r in records
  )
  assert len({r.prompt for r in held}) == round(fraction * len(set(names)))
  # The choice is of prompts: order and repeats do not matter.
  again = data.split_by_prompt(records[::-1], fraction, seed=seed)
  assert {r.prompt for r in again[1]} == {r.prompt for r in held}
