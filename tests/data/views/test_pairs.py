import pytest
from view_cases import GROUPS, PAIRS, make, pair, plain, scored

from offalign import data
from offalign.data import Record
from offalign.errors import UserError
from offalign.types import Kind


def test_pairs_as_they_are():
  view = make(PAIRS, "dpo")
  assert [row.completions for row in view.rows] == [
    record.completions for record in PAIRS
  ]
  assert view.rows[1].sources == ("f:1[0]", "f:1[1]")
  assert view.rows[0].rewards is None


def test_pairs_keep_logged_rewards_and_their_order():
  records = [pair("x", "a", "b", (0.0, 1.0)), pair("x", "c", "c", (2.0, 1.0))]
  assert plain(make(records, "dpo")) == [("x", ("a", "b"), (0.0, 1.0), None)]
  # A loss of rewards can use the same text twice.
  assert [row.rewards for row in make(records, "rebel").rows] == [
    (0.0, 1.0),
    (2.0, 1.0),
  ]


def test_all_pairs_put_the_better_first_and_count_ties():
  view = make(GROUPS, "dpo")
  assert plain(view) == [
    ("x", ("b", "a"), (1.0, 0.0), None),
    ("x", ("c", "a"), (0.5, 0.0), None),
    ("x", ("b", "c"), (1.0, 0.5), None),
  ]
  assert view.rows[0].sources == ("f:x[1]", "f:x[0]")
  assert view.summary.counts["ties_dropped"] == 1
  assert view.summary.counts["completions_unused"] == 2
  assert "1 pair of equal rewards dropped" in str(view.summary)


def test_a_loss_of_rewards_keeps_ties():
  view = make(GROUPS, "rebel")
  assert plain(view)[-1] == ("y", ("a", "b"), (2.0, 2.0), None)
  assert view.summary.counts["ties_kept"] == 1
  assert view.summary.counts["rows"] == 4


def test_best_against_worst():
  view = make(GROUPS, "dpo", pairs="best_worst")
  assert plain(view) == [("x", ("b", "a"), (1.0, 0.0), None)]
  assert len(make(GROUPS, "rebel", pairs="best_worst").rows) == 2


def test_adjacent_pairs_use_no_completion_twice():
  view = make([scored("x", 1.0, 2.0, 4.0, 3.0, 5.0)], "dpo", pairs="adjacent")
  assert [row.completions for row in view.rows] == [("b", "a"), ("c", "d")]
  assert view.summary.counts["completions_unused"] == 1


def test_pairs_from_labels():
  records = [scored("x", labels=(False, True, True))]
  view = make(records, "dpo")
  assert plain(view) == [
    ("x", ("b", "a"), None, None),
    ("x", ("c", "a"), None, None),
  ]
  assert "1 pair of equal labels dropped" in str(view.summary)
  assert make(records, "rebel").rows[0].rewards == (1.0, 0.0)


def test_pairs_of_one_text_with_different_rewards():
  records = [
    Record("x", ("a",), (reward,), None, False, f"f:{reward}")
    for reward in (0.0, 1.0)
  ] + [scored("y", 0.0, 1.0)]
  view = make(records, "dpo")
  assert [row.prompt for row in view.rows] == ["y"]
  assert view.summary.counts["same_text_dropped"] == 1
  assert len(make(records, "rebel").rows) == 2


def test_rows_of_one_prompt_are_found_together():
  records = [
    Record(prompt, (text,), (reward,), None, False, f"f:{i}")
    for i, (prompt, text, reward) in enumerate(
      [("x", "a", 0.0), ("y", "b", 1.0), ("x", "c", 2.0)]
    )
  ]
  view = make(records, "dpo")
  assert [row.sources for row in view.rows] == [("f:2", "f:0")]
  assert view.summary.counts["prompts_alone"] == 1


def test_labels_of_pairs():
  view = data.view(PAIRS, Kind.PAIR, ("labels",))
  assert {row.labels for row in view.rows} == {(True, False)}
  view = data.view(GROUPS, Kind.PAIR, ("labels",))
  assert {row.labels for row in view.rows} == {(True, False)}


def test_groups_take_the_commonest_size():
  records = [
    scored("x", 1.0, 2.0),
    scored("y", 1.0, 2.0),
    scored("z", 1.0, 2.0, 3.0, 4.0, 5.0),
    scored("w", 9.0),
  ]
  view = make(records, 'kto(threshold="prompt")')
  assert [(row.prompt, row.rewards) for row in view.rows] == [
    ("x", (1.0, 2.0)),
    ("y", (1.0, 2.0)),
    ("z", (1.0, 2.0)),
    ("z", (3.0, 4.0)),
  ]
  counts = view.summary.counts
  assert counts["group_size"] == 2
  assert (counts["prompts_left_out"], counts["completions_left_out"]) == (1, 1)
  assert (counts["prompts_cut"], counts["completions_left_over"]) == (1, 1)


def test_group_size_of_two_equally_common_is_the_larger_or_the_given():
  records = [scored("x", 1.0, 2.0), scored("y", 1.0, 2.0, 3.0)]
  spec = 'kto(threshold="prompt")'
  assert [r.prompt for r in make(records, spec).rows] == ["y"]
  assert [r.prompt for r in make(records, spec, group_size=2).rows] == [
    "x",
    "y",
  ]
  with pytest.raises(UserError, match=r"no row is left .*2 prompts left out"):
    make(records, spec, group_size=4)


def test_groups_from_pairs():
  (x, y) = make(PAIRS, 'kto(threshold="prompt")', group_size=2).rows
  assert (x.completions, x.rewards) == (("a", "b"), (1.0, 0.0))
  assert (y.completions, y.rewards) == (("a", "b"), (1.0, 0.0))
