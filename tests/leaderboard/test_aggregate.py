import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from offalign.errors import UserError
from offalign.leaderboard.aggregate import OTHER_BUDGET, aggregate
from offalign.leaderboard.board import Stat
from offalign.leaderboard.meta import Meta

LONG = {"completions": 28800, "tokens": 316800, "steps": 900}


def only_group(rows, **options):
  (group,) = aggregate(rows, **options).groups
  return group


def wins(row, label, values, **changes):
  return [
    row(label, seed=i, metrics={"win_vs_sft": value}, **changes)
    for i, value in enumerate(values)
  ]


def test_means_and_deviations_by_hand(row):
  rows = wins(row, "dpo", [0.8, 0.9, 0.7]) + wins(row, "ipo", [0.6])
  dpo, ipo = only_group(rows).ranked
  assert dpo.metrics["win_vs_sft"].mean == pytest.approx(0.8)
  # ((0)^2 + 0.1^2 + 0.1^2) / (3 - 1) = 0.01
  assert dpo.metrics["win_vs_sft"].sd == pytest.approx(0.1)
  assert dpo.metrics["win_vs_sft"].n == 3
  assert ipo.metrics["win_vs_sft"].sd is None
  assert (dpo.rank, ipo.rank) == (1, 2)
  assert dpo.seconds["cpu"].mean == 3.0


VALUES = st.lists(
  st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=12
)


@given(VALUES)
def test_mean_and_deviation_over_seeds_are_those_of_scipy(values):
  stat = Stat(dict(enumerate(values)))
  scale = max(abs(value) for value in values)
  near = {"rel": 1e-9, "abs": 1e-12 * scale}
  assert stat.mean == pytest.approx(stats.tmean(values), **near)
  assert stat.sd == pytest.approx(stats.tstd(values), **near)
  error = stat.sd / math.sqrt(stat.n)
  assert error == pytest.approx(stats.sem(values), **near)


def test_a_row_of_the_board_is_what_scipy_makes_of_the_runs(row):
  values = [0.61, 0.72, 0.58, 0.64]
  folds = [[v - 0.1, v, v + 0.04, v + 0.06] for v in values]
  curves = [[[10, v / 2], [20, v]] for v in values]
  rows = [
    row(
      seed=seed,
      metrics={"win_vs_sft": values[seed]},
      folds={"win_vs_sft": folds[seed]},
      curves={"win_vs_sft": curves[seed]},
    )
    for seed in range(4)
  ]
  (entry,) = only_group(rows).ranked
  stat = entry.metrics["win_vs_sft"]
  assert stat.mean == pytest.approx(stats.tmean(values))
  assert stat.sd == pytest.approx(stats.tstd(values))
  spreads = [stats.tstd(each) for each in folds]
  assert entry.fold_sd["win_vs_sft"] == pytest.approx(stats.tmean(spreads))
  for point, at in zip(entry.curves["win_vs_sft"], (0.5, 1), strict=True):
    theirs = [at * value for value in values]
    assert point.mean == pytest.approx(stats.tmean(theirs))
    assert point.sd == pytest.approx(stats.tstd(theirs))


def test_fold_deviation_is_the_mean_over_seeds(row):
  rows = [
    row(seed=0, folds={"win_vs_sft": [0.5, 0.7]}),  # sd 0.2 / sqrt(2)
    row(seed=1, folds={"win_vs_sft": [0.4, 0.5, 0.6]}),  # sd 0.1
    row(seed=2),
  ]
  (entry,) = only_group(rows).ranked
  expected = (0.2 / math.sqrt(2) + 0.1) / 2
  assert entry.fold_sd["win_vs_sft"] == pytest.approx(expected)


def test_theory_ranks_by_least_regret_and_ties_share_a_rank(row):
  regrets = {"a": 1e-9, "b": 4e-5, "c": 0.5, "d": 0.0}
  rows = [
    row(label, track="theory", metrics={"regret": value, "win_vs_ref": 0.9})
    for label, value in regrets.items()
  ]
  group = only_group(rows)
  assert [(e.label, e.rank) for e in group.ranked] == [
    ("a", 1),
    ("b", 1),
    ("d", 1),
    ("c", 4),
  ]


def test_sort_by_another_metric_and_direction(row):
  rows = [
    row("a", metrics={"win_vs_sft": 0.9, "kl": 2.0, "length": 3.0}),
    row("b", metrics={"win_vs_sft": 0.8, "kl": 1.0, "length": 4.0}),
  ]

  def order(sort):
    return [entry.label for entry in only_group(rows, sort=sort).ranked]

  assert order(None) == ["a", "b"]
  assert order("kl") == ["b", "a"]
  assert order("kl:max") == ["a", "b"]
  assert order("length") == ["b", "a"]
  with pytest.raises(
    UserError, match=r"^sort=kll: no row has the metric 'kll'.*'kl'"
  ):
    order("kll")
  with pytest.raises(UserError, match=r"^sort=kl:down: write metric"):
    order("kl:down")


def test_groups_do_not_mix(row):
  rows = [
    row(track=track, scenario=scenario, model=model)
    for track in ("ops", "theory")
    for scenario in ("L=0", "L=0.8")
    for model in ("tiny", "big")
  ]
  board = aggregate(rows)
  assert len(board.groups) == 8
  assert all(len(group.ranked) == 1 for group in board.groups)


def test_another_budget_is_not_ranked(row):
  rows = wins(row, "dpo", [0.7, 0.7]) + wins(row, "ipo", [0.6])
  rows += wins(row, "dpo", [0.99], budget=LONG)
  group = only_group(rows)
  assert [entry.label for entry in group.ranked] == ["dpo", "ipo"]
  assert group.ranked[0].metrics["win_vs_sft"].mean == pytest.approx(0.7)
  assert group.budget == (9600, 105600, 300)
  (other,) = group.unranked
  assert other.reason == OTHER_BUDGET
  assert other.metrics["win_vs_sft"].mean == 0.99
  (note,) = [note for note in group.notes if "another budget" in note]
  assert "dpo (seed 0: 28,800 completions, 316,800 tokens, 900" in note


def test_no_common_budget_ranks_nothing(row):
  rows = wins(row, "dpo", [0.7]) + wins(row, "ipo", [0.6], budget=LONG)
  group = only_group(rows)
  assert group.ranked == ()
  assert group.budget is None
  assert {entry.label for entry in group.unranked} == {"dpo", "ipo"}
  assert any("nothing is ranked" in note for note in group.notes)


def test_controls_are_shown_and_not_ranked(row):
  none = {"completions": 0, "tokens": 0, "steps": 0}
  rows = wins(row, "dpo", [0.7])
  rows += wins(row, "sft greedy", [0.99], control=True, budget=none)
  group = only_group(rows)
  assert [entry.label for entry in group.ranked] == ["dpo"]
  assert [(e.label, e.rank) for e in group.controls] == [("sft greedy", None)]
  assert group.notes == ()


def test_a_failed_run_is_listed_and_out_of_the_mean(row):
  rows = wins(row, "dpo", [0.7, 0.8])
  broken = {"status": "failed", "error": "loss is\n  not finite"}
  rows.append(row("dpo", seed=2, metrics={"win_vs_sft": 0.0}, **broken))
  rows.append(row("ipo", seed=0, metrics={}, **broken))
  group = only_group(rows)
  (dpo,) = group.ranked
  assert dpo.metrics["win_vs_sft"].mean == pytest.approx(0.75)
  assert (dpo.seeds, dpo.failed_seeds) == ((0, 1), (2,))
  assert [(f.label, f.seed, f.error) for f in group.failures] == [
    ("dpo", 2, "loss is not finite"),
    ("ipo", 0, "loss is not finite"),
  ]


def test_a_run_written_twice_is_reported_and_the_last_used(row):
  rows = wins(row, "dpo", [0.1, 0.5])
  rows.append(row("dpo", seed=0, metrics={"win_vs_sft": 0.7}))
  board = aggregate(rows, problems=["a line is left out."])
  (entry,) = board.groups[0].ranked
  assert entry.metrics["win_vs_sft"].by_seed == {0: 0.7, 1: 0.5}
  assert board.problems == (
    "a line is left out.",
    "dpo (seed 0, ops/L=0.37/tiny) was written 2 times; the last is used.",
  )


def test_one_label_for_two_methods_is_refused(row):
  rows = [row("dpo", seed=0), row("dpo", seed=1, loss="dpo(beta=2.0)")]
  with pytest.raises(UserError, match=r"'dpo' of ops/L=0.37/tiny names both"):
    aggregate(rows)


def test_missing_and_infinite_metrics_are_not_ranked(row):
  rows = [
    row("a", metrics={"win_vs_sft": 0.5}),
    row("b", metrics={"win_vs_sft": math.nan}),
    row("c", metrics={"kl": 0.5}),
    row("d", seed=0, metrics={"win_vs_sft": 0.4, "kl": 1.0}),
    row("d", seed=1, metrics={"win_vs_sft": 0.4}),
  ]
  group = only_group(rows)
  assert [entry.label for entry in group.ranked] == ["a", "d"]
  assert {e.label: e.reason for e in group.unranked} == {
    "b": "win vs SFT is not finite",
    "c": "no win vs SFT",
  }
  assert "d: kl is there for 1 of 2 seeds." in group.notes
  assert any(note.startswith("The means are over") for note in group.notes)


def test_curves_keep_the_steps_that_every_seed_has(row):
  rows = [
    row(seed=0, curves={"kl": [[0, 0.0], [10, 1.0], [20, 5.0]]}),
    row(seed=1, curves={"kl": [[0, 0.0], [10, 3.0]]}),
  ]
  group = only_group(rows)
  points = group.ranked[0].curves["kl"]
  assert [(p.step, p.mean) for p in points] == [(0, 0.0), (10, 2.0)]
  assert points[1].sd == pytest.approx(math.sqrt(2.0))
  assert any("1 of 3 steps of the curve of kl" in n for n in group.notes)


def test_a_run_that_failed_before_it_had_a_view_does_not_stop_the_board(row):
  known = {"selection": "by win rate"}
  bad = {"status": "failed", "error": "no", "data_view": "", "metrics": {}}
  group = only_group([row("a", 0, **known), row("a", 1, **bad), row("b", 0)])
  (found,) = (entry for entry in group.entries if entry.label == "a")
  assert (found.seeds, found.failed_seeds) == ((0,), (1,))
  assert found.data_view == "pairs, gold label"


def test_head_to_head_is_antisymmetric(row):
  rows = [
    row("b", seed=0, duels={"a": 0.7}),
    row("b", seed=1, duels={"a": 0.9}),
    row("a", seed=0, duels={"c": 0.6}),
    row("c", seed=0, duels={"a": 0.4}),
    row("a", seed=1),
    row("c", seed=1),
  ]
  group = only_group(rows)
  assert group.duels["b", "a"].mean == pytest.approx(0.8)
  assert group.duels["a", "b"].mean == pytest.approx(0.2)
  for (a, b), stat in group.duels.items():
    back = group.duels[b, a]
    assert stat.mean + back.mean == pytest.approx(1.0)
    assert stat.sd == pytest.approx(back.sd)
  # Given from both sides it counts once.
  assert group.duels["a", "c"].by_seed == pytest.approx({0: 0.6})
  assert group.notes == ()


def test_odd_duels_are_reported(row):
  rows = [
    row("a", duels={"b": 0.6, "nobody": 0.5}),
    row("b", duels={"a": 0.6}),
    row("d 1", data_view="x", loss="d", duels={"a": 0.5}),
    row("d 2", data_view="y", loss="d"),
    row("c", duels={"d": 0.5}),
    row("a", seed=1, budget=LONG, duels={"b": 1.0}),
  ]
  group = only_group(rows)
  assert group.duels["a", "b"].mean == pytest.approx(0.5)
  said = " ".join(group.notes)
  assert "a against b, seed 0: the two rows disagree" in said
  assert "the duel against 'nobody' is left out" in said
  assert "'d' is left out, it names 2 other methods" in said
  assert "Duels of 1 failed or unequal-budget runs are left out." in said


def test_an_opponent_may_be_named_by_its_loss(row):
  rows = [row("kto (batch)", loss="kto"), row("dro_v", duels={"kto": 0.75})]
  group = only_group(rows)
  assert group.duels["dro_v", "kto (batch)"].mean == 0.75


def test_an_oracle_that_matches_nothing_is_reported(row):
  meta = Meta(oracle={"ops/L=0.4": [], "ops": [{"kl": 1}], "ops/L=0.37": []})
  board = aggregate([row()], meta=meta)
  (problem,) = board.problems
  assert "'ops/L=0.4' matches no row" in problem
  assert meta.points("ops", "L=0.8", "tiny") == [{"kl": 1}]
  assert meta.points("ops", "L=0.37", "tiny") == []


def test_the_order_of_rows_does_not_matter(row):
  rows = wins(row, "dpo", [0.1, 0.2, 0.7]) + wins(row, "ipo", [0.3, 0.9, 0.1])
  rows += wins(row, "kto", [0.5], budget=LONG)
  board = aggregate(rows)
  for seed in range(5):
    random.Random(seed).shuffle(rows)
    assert aggregate(rows) == board


def test_whose_checkpoint_was_selected_is_said(row):
  rows = [
    row("dpo", selection="by win rate"),
    row("dpo", 1, selection="by win rate"),
    row("ipo", selection="by win rate"),
    row("kto"),
  ]
  (group,) = aggregate(rows).groups
  said = "The checkpoint was selected by win rate: dpo, ipo."
  assert group.notes.count(said) == 1
  by_label = {entry.label: entry.selection for entry in group.entries}
  assert by_label == {"dpo": "by win rate", "ipo": "by win rate", "kto": ""}
  with pytest.raises(UserError, match="selection"):
    aggregate([row("dpo", selection="by win rate"), row("dpo", 1)])
