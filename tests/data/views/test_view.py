import pytest
from view_cases import GROUPS, PAIRS, make, pair, plain, scored

from offalign import data
from offalign.data import Record
from offalign.errors import UserError
from offalign.types import Kind


def test_single_from_rewards():
  view = make(GROUPS, "dro_v")
  assert plain(view) == [
    ("x", ("a",), (0.0,), None),
    ("x", ("b",), (1.0,), None),
    ("x", ("c",), (0.5,), None),
    ("y", ("a",), (2.0,), None),
    ("y", ("b",), (2.0,), None),
  ]
  assert [row.sources for row in view.rows][:2] == [("f:x[0]",), ("f:x[1]",)]
  assert view.summary.counts == {
    "rows": 5,
    "prompts": 2,
    "completions": 5,
    "completions_used": 5,
  }
  assert "rewards as logged: mean 1.1, from 0 to 2" in str(view.summary)


def test_labels_from_the_global_mean_and_its_threshold():
  view = make(GROUPS, "kto")
  assert [row.labels for row in view.rows] == [
    (value > 1.1,) for value in (0.0, 1.0, 0.5, 2.0, 2.0)
  ]
  assert view.summary.threshold == pytest.approx(1.1)
  assert view.summary.counts["labels_true"] == 2
  assert "reward > 1.1 (the mean of the data): 2 true, 3 false" in str(
    view.summary
  )
  held_out = make([scored("z", 1.0, 1.2)], "kto", label_threshold=1.1)
  assert [row.labels for row in held_out.rows] == [(False,), (True,)]
  assert held_out.summary.threshold == 1.1
  assert "the given threshold" in str(held_out.summary)


def test_labels_from_the_prompts_mean():
  view = make(GROUPS, "kto", label_rule="prompt_mean")
  expected = [False, True, False, False, False]
  assert [row.labels[0] for row in view.rows] == expected
  assert view.summary.threshold is None
  assert view.summary.counts["flat_prompts"] == 1


@pytest.mark.parametrize("rule", ["global_mean", "prompt_mean"])
def test_equal_rewards_are_never_above_their_mean(rule):
  # The float sum of n times 0.1, divided by n, is above 0.1 for n = 3 and
  # below it for n = 43.
  for n in (2, 3, 43):
    view = make([scored("x", *[0.1] * n)], "kto", label_rule=rule)
    assert not any(row.labels[0] for row in view.rows)
    assert "every label is false" in str(view.summary)


def test_labels_as_given_and_rewards_from_labels():
  records = [scored("x", labels=(True, False))]
  assert plain(make(records, "kto")) == [
    ("x", ("a",), None, (True,)),
    ("x", ("b",), None, (False,)),
  ]
  view = make(records, "dro_v")
  assert [row.rewards for row in view.rows] == [(1.0,), (0.0,)]
  assert "1 for true (1), 0 for false (1)" in str(view.summary)


def test_given_labels_win_over_rewards_unless_told_otherwise():
  records = [scored("x", 0.0, 1.0, labels=(True, False))]
  labels = lambda view: [row.labels[0] for row in view.rows]
  assert labels(make(records, "kto")) == [True, False]
  assert labels(make(records, "kto", label_rule="global_mean")) == [False, True]


def test_single_from_pairs_counts_each_completion_once():
  view = make(PAIRS, "dro_v")
  assert plain(view) == [
    ("x", ("a",), (1.0,), None),
    ("x", ("b",), (0.0,), None),
    ("x", ("c",), (0.5,), None),
    ("y", ("a",), (1.0,), None),
    ("y", ("b",), (0.0,), None),
  ]
  assert view.rows[2].sources == ("f:1[1],f:2[0]",)
  assert view.summary.counts["sides_merged"] == 3
  text = str(view.summary)
  assert "8 sides of 4 pairs are 5 distinct completions" in text
  assert "4 of 5 won all or none" in text


def test_labels_from_pairs_leave_out_the_undecided():
  view = make(PAIRS, "kto")
  assert [(row.completions[0], row.labels[0]) for row in view.rows] == [
    ("a", True),
    ("b", False),
    ("a", True),
    ("b", False),
  ]
  assert view.summary.counts["completions_undecided"] == 1
  # Shares of wins are no logged rewards: they stay out unless asked for.
  assert all(row.rewards is None for row in view.rows)
  # Unlike a threshold on the shares, which has them all.
  view = make(PAIRS, "kto", label_rule="prompt_mean")
  assert [row.labels[0] for row in view.rows] == [
    True,
    False,
    False,
    True,
    False,
  ]


def test_single_from_pairs_with_logged_rewards():
  records = [
    pair("x", "a", "b", (3.0, 1.0)),
    pair("x", "a", "c", (4.0, 2.0), row=1),
  ]
  view = make(records, "dro_v")
  assert [row.rewards for row in view.rows] == [(3.5,), (1.0,), (2.0,)]
  assert "1 completion logged with more than one reward" in str(view.summary)


def test_the_same_text_twice_says_nothing_about_it():
  records = [*PAIRS, pair("z", "a", "a", row=4)]
  assert make(records, "dpo").summary.counts["same_text_dropped"] == 1
  view = make(records, "dro_v")
  assert {row.prompt for row in view.rows} == {"x", "y"}
  assert view.summary.counts["completions_uncompared"] == 1
  assert make(records, "kto").summary.counts["completions_undecided"] == 2
  # A tie does not change the share of one that also won.
  records = [pair("x", "a", "b"), pair("x", "a", "a", row=1)]
  assert make(records, "dro_v").rows[0].rewards == (1.0,)
  # All of them are completions to imitate.
  assert len(make([pair("z", "a", "a")], "sft").rows) == 1


def test_a_loss_without_feedback_says_what_it_imitates():
  assert "chosen and rejected completions alike" in str(
    make(PAIRS, "sft").summary
  )
  assert "good and bad completions alike" in str(make(GROUPS, "sft").summary)


SFT = [Record("x", ("a",), None, None, False, "f:0")]


@pytest.mark.parametrize(
  ("spec", "what"),
  [
    ("dro_v", "needs rewards"),
    ("kto", "needs labels"),
    ("dpo", "takes pairs"),
    ("rebel", "takes pairs"),
    ('kto(threshold="prompt")', "takes groups"),
  ],
)
def test_demonstrations_serve_only_what_needs_no_feedback(spec, what):
  with pytest.raises(UserError, match=f"{what}, and the data has prompts"):
    make(SFT, spec)
  assert plain(make(SFT, "sft")) == [("x", ("a",), None, None)]


@pytest.mark.parametrize(
  ("records", "spec", "options", "what"),
  [
    (GROUPS, "dro_v", {"pairs": "all"}, "pairs is set, but .* not take pairs"),
    (PAIRS, "dpo", {"pairs": "all"}, "pairs is set, but .* pairs already"),
    (GROUPS, "dro_v", {"label_rule": "given"}, "label_rule is set, but"),
    (GROUPS, "dpo", {"label_rule": "given"}, "label_rule is set, but"),
    (GROUPS, "dro_v", {"label_threshold": 0.0}, "label_threshold is set, but"),
    (GROUPS, "kto", {"group_size": 2}, "group_size is set, but"),
    (
      PAIRS,
      "kto",
      {"label_threshold": 0.5},
      "label_threshold is set, but .* given",
    ),
    (
      GROUPS,
      "kto",
      {"label_threshold": 0.5, "label_rule": "prompt_mean"},
      "label_threshold is set, but",
    ),
    (GROUPS, "kto", {"label_rule": "given"}, "no labels and no pairs"),
    (
      [scored("x", labels=(True,))],
      "kto",
      {"label_rule": "global_mean"},
      "has labels alone",
    ),
    (GROUPS, "dpo", {"pairs": "bestworst"}, "did you mean 'best_worst'"),
    (GROUPS, "kto", {"label_rule": "mean"}, "is none of given, global_mean"),
    (
      GROUPS,
      'kto(threshold="prompt")',
      {"group_size": 1},
      "must be at least 2",
    ),
    ([], "dpo", {}, "no records"),
    ([*GROUPS, *SFT], "sft", {}, "f:0 has other feedback than f:x"),
    ([scored("x", 1.0)], "dpo", {}, "no row is left .*1 prompt with one"),
  ],
)
def test_what_cannot_be_done_is_refused(records, spec, options, what):
  with pytest.raises(UserError, match=what):
    make(records, spec, **options)


def test_means_over_the_batch_are_needs_too():
  assert (
    data.view(PAIRS, Kind.SINGLE, ("reward_mean",)).rows[0].rewards is not None
  )
  needs = ("desirable_length_mean",)
  assert data.view(PAIRS, Kind.SINGLE, needs).rows[0].labels is not None
