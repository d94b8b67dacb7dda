"""The paper's tables: what is run, and how rows decide the claims."""

import dataclasses
import zlib

import numpy as np
import pytest
from absl import flags

from benchmarks import claims, paper, paper_tables, run
from benchmarks.claims import (
  FAILS,
  HOLDS,
  NOISE,
  UNOPPOSED,
  UNTESTABLE,
  Match,
  Results,
)
from offalign import leaderboard, losses
from offalign.statistics.outcomes import encode

A, B, C = (Match(name, name, "sft") for name in "abc")
PROMPTS = 400


def row(label, seed, win, duels=(), last=None, loss="dro_v", eff=0.8, **more):
  """A row of the ops track, with outcomes of `PROMPTS` prompts."""
  rng = np.random.default_rng(zlib.crc32(f"{label} {seed}".encode()))
  outcomes = np.zeros(PROMPTS)
  outcomes[rng.permutation(PROMPTS)[: round(win * PROMPTS)]] = 1.0
  return leaderboard.Row(
    track="ops",
    scenario="L=0.37",
    loss=loss,
    label=label,
    data_view="single, reward",
    model="decoder(width=48)",
    seed=seed,
    budget={"completions": 1, "tokens": 1, "steps": 1},
    metrics={"win_vs_sft": win, "kl": 0.2, "efficiency": eff},
    seconds={"wall": 1.0, "cpu": 1.0},
    peak_memory_mb=1.0,
    versions={},
    prompts="0123456789abcdef",
    outcomes={"win_vs_sft": encode(outcomes)},
    curves={"win_vs_sft": [[0, 0.5], [1, win if last is None else last]]},
    duels=dict(duels),
    **more,
  )


def results(**wins):
  """Runs by label, a win rate for each seed."""
  return Results(
    [
      row(label, seed, win)
      for label, each in wins.items()
      for seed, win in enumerate(each)
    ]
  )


@pytest.mark.parametrize(
  ("a", "b", "verdict"),
  [
    ((0.70, 0.71, 0.72), (0.50, 0.51, 0.52), HOLDS),
    ((0.50, 0.51, 0.52), (0.70, 0.71, 0.72), FAILS),
    ((0.60, 0.61, 0.62), (0.61, 0.62, 0.63), NOISE),
    ((0.55, 0.70, 0.85), (0.55, 0.56, 0.57), NOISE),  # the seeds disagree
    ((0.62, 0.62, 0.62), (0.60, 0.60, 0.60), NOISE),  # the prompts do
    ((0.75,), (0.55,), HOLDS),  # one seed: the prompts' error alone
  ],
)
def test_a_difference_counts_where_its_interval_leaves_zero_out(a, b, verdict):
  found, numbers = claims.Above("-", A, B).verdict(results(a=a, b=b))
  assert found == verdict
  assert f"{sum(a) / len(a):.3f} ± " in numbers


@pytest.mark.parametrize(
  ("others", "verdict"),
  [
    (((0.5,), (0.5,)), HOLDS),
    (((0.5,), (0.695,)), NOISE),
    (((0.9,), (0.5,)), FAILS),
  ],
)
def test_the_best_is_above_each_other(others, verdict):
  b, c = others
  claim = claims.Best("-", A, (A, B, C))
  assert claim.verdict(results(a=(0.7,), b=b, c=c))[0] == verdict


def test_noise_does_not_beat_the_default_and_does_not_confirm_it():
  claim = claims.Unbeaten("-", A, (A, B, C))
  noise = claim.verdict(results(a=(0.7,), b=(0.71,), c=(0.5,)))
  assert noise[0] == UNOPPOSED
  clear = claim.verdict(results(a=(0.9,), b=(0.7,), c=(0.5,)))
  assert clear[0] == HOLDS
  assert claim.verdict(results(a=(0.7,), b=(0.90,), c=(0.5,)))[0] == FAILS


@pytest.mark.parametrize(
  ("wins", "verdict"),
  [
    ((0.60, 0.61, 0.60), UNOPPOSED),  # within the paper's range
    ((0.60, 0.65, 0.60), NOISE),  # beyond it, not by more than the noise
    ((0.60, 0.80, 0.60), FAILS),
  ],
)
def test_steady_is_measured_by_the_papers_range(wins, verdict):
  found = results(**{k: (w,) for k, w in zip("abc", wins, strict=True)})
  claim = claims.Steady("-", (A, B, C), 0.02)
  assert claim.verdict(found)[0] == verdict
  assert claim.verdict(found, "efficiency") == (claims.NONE, "")


@pytest.mark.parametrize(
  ("wins", "verdict"),
  [
    ((0.60, 0.61, 0.75), HOLDS),
    ((0.60, 0.61, 0.61), UNOPPOSED),
    ((0.60, 0.90, 0.75), FAILS),  # higher at the end, but it fell
    ((0.75, 0.65, 0.60), FAILS),
  ],
)
def test_a_rise_has_no_resolved_fall(wins, verdict):
  found = results(**{k: (w,) for k, w in zip("abc", wins, strict=True)})
  assert claims.Rises("-", (A, B, C)).verdict(found)[0] == verdict


def test_side_by_side_comes_from_either_row():
  duel = Match("-", "a", "b")
  for a, b in (({"b": 0.7}, {}), ({}, {"a": 0.3})):
    rows = [row("a", s, 0.5, a) for s in (0, 1)]
    rows += [row("b", s, 0.5, b) for s in (0, 1)]
    found = Results(rows).found(duel)
    assert found.values.tolist() == [[0.7], [0.7]]
    assert found.rival == 0.5
    assert claims.Beats("-", duel).verdict(Results(rows))[0] == HOLDS


def test_side_by_side_is_taken_prompt_by_prompt_where_gains_are_known():
  rows = [row("a", 0, 0.5, {"b": 0.625}), row("b", 0, 0.5)]
  gains = [[0.3, -0.1, 0.2, 0.0], [0.1, -0.1, 0.2, -0.5]]
  rows = [
    dataclasses.replace(
      r,
      metrics={**r.metrics, "reward_gain": sum(gain) / 4},
      outcomes={"reward_gain": gain},
    )
    for r, gain in zip(rows, gains, strict=True)
  ]
  found = Results(rows).found(Match("-", "a", "b"))
  assert found.values.tolist() == [[1.0, 0.5, 0.5, 1.0]]


def test_what_the_optimum_decides_in_advance_cannot_be_tested():
  rows = [row("a", s, 0.6, {"b": 0.4}) for s in (0, 1, 2)]
  rows += [row("b", s, 0.8, loss="kto") for s in (0, 1, 2)]
  above, duel = claims.Above("-", A, B), claims.Beats("-", Match("-", "a", "b"))
  # dro_v is at tau = 1, whose exact optimum wins 0.7: less than b's 0.8.
  for claim in (above, duel):
    assert claim.verdict(Results(rows, {1.0: 0.9}))[0] == FAILS
    found, numbers = claim.verdict(Results(rows, {1.0: 0.7, 0.1: 0.95}))
    assert found == UNTESTABLE
    assert "the exact optimum of this tau wins 0.700" in numbers
    # Of another method the optimum is not known.
    assert (
      claims.Above("-", B, A).verdict(Results(rows, {1.0: 0.7}))[0] == HOLDS
    )


def test_efficiency_has_a_verdict_of_its_own():
  rows = [row("a", s, 0.6, {"b": 0.4}, eff=0.9 + s / 100) for s in (0, 1, 2)]
  rows += [row("b", s, 0.8, eff=0.5 + s / 100) for s in (0, 1, 2)]
  found = Results(rows)
  above, duel = claims.Above("-", A, B), claims.Beats("-", Match("-", "a", "b"))
  assert above.verdict(found)[0] == FAILS
  assert above.verdict(found, "efficiency")[0] == HOLDS
  assert duel.verdict(found, "efficiency") == (HOLDS, "+0.400 ± 0.000")
  assert claims.Beats("-", A).verdict(found, "efficiency") == (claims.NONE, "")


def test_the_best_of_several_is_chosen_on_validation_prompts():
  rows = [row("a", 0, 0.9, last=0.6), row("b", 0, 0.8, last=0.7)]
  both = Match("-", ("a", "b"), "sft")
  assert Results(rows).chosen(both.a) == "b"
  assert Results(rows).found(both).estimate.mean == pytest.approx(0.8)
  assert Results(rows[:1]).found(both) is None  # a search needs all of them


def test_what_was_not_run_or_failed_is_said():
  claim = claims.Above("-", A, B)
  assert claim.verdict(results(a=(0.7,)))[0] == claims.ABSENT
  failed = row("b", 0, 0.5, status="failed", error="no luck")
  assert claim.verdict(Results([row("a", 0, 0.7), failed]))[0] == claims.ABSENT
  text = paper_tables.render([row("dro_v(tau=1)", 0, 0.7)])
  assert "| DRO-V over KTO | 0.634 | 0.575 | not run |" in text
  assert "Verdict by win rate: **not run** (1 of 4 claims hold or" in text


def test_every_table_is_made_of_runs_and_has_a_verdict():
  labels = {m.name for m in paper.METHODS}
  assert len(labels) == len(paper.METHODS)
  rows = [row(label, seed, 0.6) for label in labels for seed in (0, 1)]
  text = paper_tables.render(rows)
  for table in paper.TABLES:
    assert f"### {table.title}" in text
    assert table.claims
    for match in table.matches:
      for side in (match.a, match.b):
        wanted = {side} if isinstance(side, str) else set(side)
        assert wanted <= labels | {"sft"}
  # A row of a table has as many cells as its heading.
  lines = [line for line in text.splitlines() if line.startswith("|")]
  head = None
  for line in lines:
    if line.startswith("|  |"):
      head = line
    assert line.count(" |") == head.count(" |") or line.startswith("| :-")


def test_the_papers_figures_are_shares_and_agree_with_each_other():
  large = {}
  for table in paper.TABLES:
    for match in table.matches:
      for column, share in match.paper:
        assert 0 < share < 1
        if column == "T5-L":
          large.setdefault((match.a, match.b), set()).add(share)
  # A run that stands in several figures has one win rate in them all, but for
  # Figures 5 and 6, whose runs had a quarter of the steps.
  assert large.pop(("dro_v(tau=1)", "sft")) == {0.789, 0.766}
  assert all(len(shares) == 1 for shares in large.values())


def test_variants_change_one_thing_and_reach_the_learner():
  by_name = {m.name: m for m in paper.METHODS}
  base = by_name["dro_v(tau=1)"]
  assert losses.get(base.loss) == losses.get("dro_v")
  slow = by_name["dro_v(tau=1) rates x0.1"]
  assert slow.learning_rate == pytest.approx(base.learning_rate / 10)
  assert slow.value_learning_rate is None
  fast = by_name["dro_v(tau=1) value rate x5"]
  assert fast.learning_rate == base.learning_rate
  assert fast.value_learning_rate == pytest.approx(5 * base.learning_rate)
  single = by_name["dro_v(tau=0.1) single net single value"]
  assert (single.value.network, single.value.per) == ("shared", "batch")


@pytest.mark.slow
def test_the_suite_runs_and_prints_the_tables(small, tmp_path, capsys):
  out = tmp_path / "paper"
  args = ["--suite=paper", "--model=decoder", "--seeds=1", f"--out={out}"]
  wanted = "dro_v(tau=1) value rate x5"
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", f"--methods={wanted}", *args])
  try:
    assert run.main(["benchmarks.run"]) == 0
  finally:
    for name in ("suite", "methods", "seeds", "out", "model", "select"):
      flags.FLAGS[name].unparse()
  printed = capsys.readouterr().out
  assert "### Figure 3, bottom" in printed
  assert "**not run**" in printed
  rows = leaderboard.read(out)[0]
  assert {r.label for r in rows if not r.control} == {wanted}
  assert all(r.status == "ok" for r in rows)
  assert paper_tables.main(["-", str(out)]) == 0
  assert "![plots/paper-decoder.png]" in (out / "paper.md").read_text()
  assert (out / "plots/paper-decoder.png").exists()
  assert "decoder, Figure 3, bottom" not in (out / "report.md").read_text()


def test_the_command_names_its_mistakes(tmp_path, capsys):
  assert paper_tables.main(["-"]) == 2
  assert "name the folder" in capsys.readouterr().err
  assert paper_tables.main(["-", str(tmp_path / "none")]) == 2
  assert "is not a folder" in capsys.readouterr().err
  leaderboard.append(tmp_path / "rows.jsonl", row("a", 0, 0.5))
  assert paper_tables.main(["-", str(tmp_path)]) == 2
  assert "did its run finish?" in capsys.readouterr().err
