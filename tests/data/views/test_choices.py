"""What a view chooses: random pairs, margins, and what is worth imitating."""

import collections

import hypothesis
import pytest
from hypothesis import strategies as st
from view_cases import GROUPS, PAIRS, make, pair, scored

from offalign import data
from offalign.data import Record, origins
from offalign.errors import UserError
from offalign.types import Kind

BEST = 'sft(on="all")'
MANY = [scored(name, *map(float, range(8))) for name in "xyz"]

rewards = st.sampled_from([0.0, 0.5, 1.0])


@st.composite
def shuffled(draw):
  """Single rated completions, and the same in another order."""
  rows = draw(
    st.lists(
      st.tuples(st.sampled_from("xyz"), st.sampled_from("abcd"), rewards),
      min_size=1,
      max_size=14,
    )
  )
  records = [
    Record(prompt, (text,), (reward,), None, False, f"f:{i}")
    for i, (prompt, text, reward) in enumerate(rows)
  ]
  return records, draw(st.permutations(records))


def content(view):
  """The rows, without their order and where they came from."""
  return collections.Counter(
    (row.prompt, tuple(zip(row.completions, row.rewards, strict=True)))
    for row in view.rows
  )


@hypothesis.given(
  shuffled(),
  st.sampled_from(["all", "best_worst", "best_random", "random"]),
  st.integers(0, 3),
)
def test_the_order_of_the_rows_does_not_change_the_pairs(both, rule, seed):
  found = []
  for records in both:
    try:
      options = data.ViewOptions(pairs=rule)
      view = data.view(records, Kind.PAIR, (), options, seed=seed)
    except UserError as error:
      assert "no row is left" in str(error)  # noqa: PT017
      found.append(None)
    else:
      found.append(content(view))
  assert found[0] == found[1]


@hypothesis.given(
  shuffled(),
  st.sampled_from(
    [{"best_of_n": 0}, {"best_of_n": 2}]
    + [{"top_fraction": f} for f in (0.1, 0.5, 0.9)]
  ),
  st.integers(0, 3),
)
def test_what_to_imitate_is_of_the_best_in_any_order(both, option, seed):
  records, other = both
  options = data.ViewOptions(**option)
  try:
    view = data.view(records, Kind.SINGLE, (), options, seed=seed)
  except UserError:
    sizes = collections.Counter(r.prompt for r in records).values()
    assert option == {"best_of_n": 2}
    assert max(sizes) < 2
    return
  same = data.view(other, Kind.SINGLE, (), options, seed=seed)
  assert content(view) == content(same)
  counts = view.summary.counts
  unused = sum(view.summary.unused.values())
  assert len(view.rows) == counts["completions_used"]
  assert counts["completions_used"] + unused == len(records)
  kept = {row.sources[0]: row.rewards[0] for row in view.rows}
  if "top_fraction" in option:
    size = max(round(option["top_fraction"] * len(records)), 1)
    ranked = sorted((r.rewards[0] for r in records), reverse=True)
    assert sorted(kept.values(), reverse=True) == ranked[:size]
    return
  assert len({row.prompt for row in view.rows}) == len(view.rows)
  if option["best_of_n"] == 0:
    for row in view.rows:
      mine = [r.rewards[0] for r in records if r.prompt == row.prompt]
      assert row.rewards[0] == max(mine)


def test_random_pairs_follow_the_seed_alone():
  texts = lambda seed: [
    row.completions for row in make(MANY, "dpo", pairs="random", seed=seed).rows
  ]
  assert texts(3) == texts(3)
  assert len({tuple(texts(seed)) for seed in range(5)}) == 5
  view = make(MANY, "dpo", pairs="random")
  assert len(view.rows) == 12
  assert all(row.margin > 0 for row in view.rows)
  assert "two by two, in random order (pairs='random')" in str(view.summary)


def test_the_best_is_paired_with_any_other():
  others = set()
  for seed in range(40):
    for row in make(MANY, "dpo", pairs="best_random", seed=seed).rows:
      assert row.completions[0] == "h"
      others.add(row.completions[1])
  assert others == set("abcdefg")


def test_pairs_that_are_too_close_are_dropped_and_counted():
  view = make(GROUPS, "dpo", min_margin=0.6)
  assert [row.margin for row in view.rows] == [1.0]
  counts = view.summary.counts
  assert (counts["margin_dropped"], counts["ties_dropped"]) == (2, 1)
  assert counts["completions_unused"] == 3
  text = str(view.summary)
  assert "2 pairs dropped: rewards less than 0.6 apart" in text
  assert "margins (chosen less rejected reward): mean 1, from 1 to 1" in text
  # A loss of rewards keeps ties, but not these.
  counts = make(GROUPS, "rebel", min_margin=0.6).summary.counts
  assert counts["margin_dropped"] == 3
  assert "ties_kept" not in counts
  given = [
    pair("x", "a", "b", (3.0, 1.0)),
    pair("x", "a", "c", (1.0, 3.0), row=1),
  ]
  view = make(given, "dpo", min_margin=1.0)
  assert [row.margin for row in view.rows] == [2.0]
  assert view.summary.unused == {"completions_unused": 2}


def test_best_of_n_and_the_top_of_all():
  view = make(MANY, BEST, best_of_n=0)
  assert [row.completions for row in view.rows] == [("h",)] * 3
  assert "best-of-n: the best of all completions of each prompt" in str(
    view.summary
  )
  assert view.summary.unused == {"completions_not_best": 21}
  best = {
    make(MANY, BEST, best_of_n=2, seed=seed).rows[0].completions[0]
    for seed in range(20)
  }
  assert len(best) > 2
  view = make([*MANY, scored("w", 1.0)], BEST, best_of_n=2)
  assert view.summary.counts["prompts_left_out"] == 1
  view = make(MANY, BEST, top_fraction=0.25)
  assert collections.Counter(row.rewards[0] for row in view.rows) == {
    7.0: 3,
    6.0: 3,
  }
  assert view.summary.unused == {"completions_below_top": 18}
  # Of pairs it is the share of comparisons won, of labels true before false.
  view = make(PAIRS, BEST, best_of_n=0)
  assert [row.completions for row in view.rows] == [("a",), ("a",)]
  assert all(row.rewards is None for row in view.rows)
  labelled = [scored("x", labels=(False, True))]
  assert make(labelled, BEST, top_fraction=0.5).rows[0].completions == ("b",)


def test_equal_rewards_at_the_cut_are_drawn_not_taken_in_order():
  records = [scored(str(i), 1.0) for i in range(100)]
  view = make(records, BEST, top_fraction=0.1)
  assert "10 of 100 completions with a reward of just 1" in str(view.summary)
  assert [row.prompt for row in view.rows] != [str(i) for i in range(10)]


SFT = [Record("x", ("a",), None, None, False, "f:0")]
SAME = [pair("x", "a", "a")]
FOR_OTHERS = "does more than imitate completions; leave it out"


@pytest.mark.parametrize(
  ("records", "spec", "options", "what"),
  [
    (GROUPS, "dro_v", {"best_of_n": 0}, "best_of_n is set.*" + FOR_OTHERS),
    (GROUPS, "dpo", {"top_fraction": 0.1}, "top_fraction is .*" + FOR_OTHERS),
    (GROUPS, "sft(on=desirable)", {"best_of_n": 0}, FOR_OTHERS),
    (GROUPS, "sft(on=chosen)", {"best_of_n": 0}, FOR_OTHERS),
    (SFT, "sft", {"best_of_n": 0}, "says nothing about which .* are better"),
    (GROUPS, "sft", {"best_of_n": 1}, "must be 0 or at least 2, not 1"),
    (GROUPS, "sft", {"top_fraction": 1.0}, "both excluded, not 1.0"),
    (GROUPS, "sft", {"top_fraction": 0.5, "best_of_n": 2}, "is set; give one"),
    (GROUPS, "sft", {"best_of_n": 9}, "no row is left .*fewer than 9"),
    (SAME, "sft", {"best_of_n": 0}, "no row is left .*with the same text"),
    (SAME, "sft", {"top_fraction": 0.5}, "no row is left .*with the same text"),
    (GROUPS, "dro_v", {"min_margin": 1.0}, "min_margin is .*not take pairs"),
    (PAIRS, "dpo", {"min_margin": 1.0}, "min_margin is set, .* no rewards"),
    (GROUPS, "dpo", {"min_margin": 0.0}, "min_margin must be .* not 0.0"),
    (GROUPS, "dpo", {"min_margin": 9.0}, "no row is left .*less than 9 apart"),
  ],
)
def test_options_that_do_not_apply_are_refused(records, spec, options, what):
  with pytest.raises(UserError, match=what):
    make(records, spec, **options)


def test_a_place_is_found_whatever_the_file_is_called():
  name = "a, b:c/d[1].jsonl"
  assert origins(f"{name}:3[1],{name}:12") == (
    (name, 3, 1),
    (name, 12, 0),
  )
