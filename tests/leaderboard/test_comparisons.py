"""Standard errors, paired differences and the top set of a board."""

import json
import math

import board_cases
import numpy as np
import pytest
from scipy import stats

from offalign.errors import UserError
from offalign.leaderboard.aggregate import OLD, aggregate
from offalign.leaderboard.report.console import render_text
from offalign.leaderboard.rows import Row
from offalign.statistics.outcomes import encode

N = 120


def runs(row, chances, seeds=3, *, keep=True):
  """Rows of methods that win with those chances, the same prompts hard."""
  rng = np.random.default_rng(0)
  hard = rng.random(N)
  out = []
  for label, chance in chances.items():
    for seed in range(seeds):
      lucky = chance + rng.normal(0, 0.01)
      won = (0.7 * hard + 0.3 * rng.random(N) < lucky).astype(float)
      kept = {"outcomes": {"win_vs_sft": encode(won)}, "prompts": "abc"}
      metrics = {"win_vs_sft": float(won.mean()), "kl": 1.0 + seed}
      out.append(row(label, seed, metrics=metrics, **(kept if keep else {})))
  return out


def test_errors_are_over_seeds_and_prompts_where_outcomes_are_kept(row):
  (entry,) = aggregate(runs(row, {"a": 0.6}, seeds=1)).groups[0].ranked
  won = [
    float(x == "w") for x in runs(row, {"a": 0.6})[0].outcomes["win_vs_sft"]
  ]
  assert entry.se("win_vs_sft") == pytest.approx(stats.sem(won))
  assert entry.se("kl") is None  # of one seed, without outcomes
  (entry,) = aggregate(runs(row, {"a": 0.6})).groups[0].ranked
  assert entry.se("kl") == pytest.approx(stats.sem([1, 2, 3]))
  (alone,) = aggregate(runs(row, {"a": 0.6}, keep=False)).groups[0].ranked
  seeds = list(alone.metrics["win_vs_sft"].by_seed.values())
  assert alone.se("win_vs_sft") == pytest.approx(stats.sem(seeds))
  assert alone.se("win_vs_sft") < entry.se("win_vs_sft")


def test_pairs_are_paired_by_prompt_and_corrected(row):
  rows = runs(row, {"a": 0.8, "b": 0.79, "c": 0.3})
  (group,) = aggregate(rows).groups
  assert group.starred == {"a", "b"}
  pairs = {(p.a, p.b): p for p in group.ranking.pairs}
  first, second, third = (e.label for e in group.ranked)
  found = pairs[first, third]
  assert found.paired
  assert found.p < 0.01
  assert found.p >= found.estimate.p
  assert found.estimate.prompts == N
  assert pairs[first, second].p > 0.05
  text = render_text(aggregate(rows))
  assert "2 of 3 pairs are resolved" in " ".join(text.split())
  assert "differences paired by prompt; Holm's" in " ".join(text.split())
  assert [line[:2] for line in text.splitlines()[6:9]] == ["1*", "2*", " 3"]


def test_rows_without_outcomes_are_compared_over_seeds(row):
  rows = runs(row, {"a": 0.8, "b": 0.3}, keep=False)
  (group,) = aggregate(rows).groups
  (pair,) = group.ranking.pairs
  values = [
    list(e.metrics["win_vs_sft"].by_seed.values()) for e in group.ranked
  ]
  theirs = stats.ttest_ind(*values, equal_var=False)
  assert not pair.paired
  assert pair.p == pytest.approx(theirs.pvalue, rel=1e-3)
  assert "over seeds alone" in group.said[0]
  # Outcomes of other prompts are not paired either.
  rows = runs(row, {"a": 0.8, "b": 0.3})
  moved = [Row(**{**vars(r), "prompts": f"of {r.label}"}) for r in rows]
  assert not aggregate(moved).groups[0].ranking.pairs[0].paired


def test_one_seed_without_outcomes_says_that_nothing_is_known(row):
  (group,) = aggregate([row("a"), row("b")]).groups
  assert group.starred == frozenset()
  assert "nothing says which" in group.said[0]
  (group,) = aggregate(runs(row, {"a": 0.8, "b": 0.3}, seeds=1)).groups
  assert any("over prompts alone" in sentence for sentence in group.said)


def test_rows_of_an_earlier_measurement_are_not_ranked_with_new_ones(row):
  rows = [row("a"), row("b", measurement=2), row("a", measurement=2)]
  (group,) = aggregate(rows).groups
  assert {e.label for e in group.ranked} == {"a", "b"}
  assert [(e.label, e.reason) for e in group.unranked] == [("a", OLD)]


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"prompts": ""}, "'prompts' is empty, but there are outcomes"),
    ({"outcomes": {"win_vs_sft": "wx"}}, "has 'x', not one of w, t, l, -"),
    ({"outcomes": {"win_vs_sft": "w" * 20_001}}, "20,001 outcomes, not 1 to"),
    ({"outcomes": {"win_vs_sft": ""}}, "has 0 outcomes, not 1 to"),
    ({"outcomes": {"win_vs_sft": "ww"}}, "mean 1.0000, and the metric is 0.5"),
    ({"outcomes": {"other": "wl"}}, "is of no metric"),
    ({"outcomes": {"win_vs_sft": "--"}}, "has no outcome"),
    ({"outcomes": {"win_vs_sft": 3}}, "neither letters nor a list"),
    ({"outcomes": {"win_vs_sft": "wl", "kl": [1.0]}}, r"of \[1, 2\] prompts"),
    ({"measurement": -1}, "less than 0"),
  ],
)
def test_outcomes_that_do_not_fit_are_refused(row, changes, sentence):
  fields = {"outcomes": {"win_vs_sft": "wl"}, "prompts": "abc"}
  made = row(**fields)
  assert Row.from_json(made.to_json()) == made
  with pytest.raises(UserError, match=sentence):
    row(**{**fields, **changes})


def test_rows_of_before_are_read():
  record = json.loads(board_cases.make_row().to_json())
  for key in ("outcomes", "prompts", "measurement"):
    del record[key]
  found = Row.from_json(json.dumps(record))
  assert (found.outcomes, found.prompts, found.measurement) == ({}, "", 1)
  assert math.isfinite(found.metrics["kl"])
