"""The sentiment suite: openings, gains, the choice of rates, words."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
from absl import flags

from benchmarks import run
from benchmarks.sentiment import (
  cli,
  folder,
  gains,
  openings,
  results,
  samples,
  scores,
  sizes,
  suite,
  training,
)
from offalign import leaderboard
from offalign.errors import UserError

CELL = sizes.CELLS[0]


def given(*args):
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", *args])
  try:
    return run.main(["benchmarks.run"])
  finally:
    for name in ("suite", "out", "methods", *cli.NAMES):
      flags.FLAGS[name].unparse()
    flags.FLAGS(["benchmarks.run"])


def test_openings_are_many_and_of_one_part_alone():
  parts = {name: openings.read(name) for name in openings.PARTS}
  every = [line for part in parts.values() for line in part]
  assert len(set(every)) == len(every)
  whole = sizes.Sizes()
  assert len(parts["train"]) >= whole.openings
  assert len(parts["validation"]) >= whole.validation
  assert len(parts["test"]) >= whole.test
  assert all(line == line.strip() for line in every)


def test_the_lexicon_calls_every_opening_neutral():
  pytest.importorskip("vaderSentiment", reason="needs offalign[real]")
  for part in openings.PARTS:
    for line in openings.read(part):
      assert scores.vader("", line) == 0.0, line
  assert scores.vader("The day was", " wonderful.") > 0.5
  assert scores.vader("The day was", " terrible.") < -0.4
  assert scores.vader("A wonderful day was", " over") == 0.0


def test_a_gain_is_paired_by_prompt():
  rng = np.random.default_rng(1)
  base = rng.normal(size=(1, 40))
  same = gains.gain(np.repeat(base, 3, axis=0) + 0.25, base)
  assert (same.mean, same.low, same.high) == pytest.approx((0.25,) * 3)
  assert same.verdict == "better"
  none = gains.gain(base, base)
  assert none.verdict == "within the noise"
  less = gains.gain(base - 0.25, base)
  assert less.verdict == "worse"


def test_an_interval_is_that_of_the_theory_for_many_prompts():
  """Of one run and one draw, only the prompts vary: 1.96 sd / sqrt(n)."""
  rng = np.random.default_rng(2)
  after, before = rng.normal(size=(1, 400)), rng.normal(size=(1, 400))
  found = gains.gain(after, before)
  error = (after - before).std() / 20
  assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.01)
  assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.01)


def test_runs_that_differ_widen_the_interval():
  base = np.zeros((1, 50))
  far = gains.gain(np.array([[0.0] * 50, [1.0] * 50]), base)
  assert far.mean == 0.5
  assert (far.low, far.high) == (0.0, 1.0)
  assert far.verdict == "within the noise"


def test_repeated_phrases_are_not_distinct():
  assert gains.distinct(["a b c", "d e f"]) == 1.0
  assert gains.distinct(["a b c", "A b c"]) == 0.5
  assert gains.distinct(["", "word"]) == 0.0


def swept(rate, score, moved, status="ok"):
  metrics = {"mean_score": score, "rate": rate, "log_ratio/chosen": moved}
  failed = status == "failed"
  return leaderboard.Row(
    track="sentiment, rates",
    scenario="VADER",
    loss=CELL.method.loss,
    label=f"{CELL.label}, {rate:g}",
    data_view="single",
    model="hf:smollm2",
    seed=0,
    budget={"completions": 1, "tokens": 1, "steps": 1},
    metrics={} if failed else metrics,
    seconds={"wall": 1.0, "cpu": 1.0},
    peak_memory_mb=1.0,
    versions={},
    status=status,
    error="diverged" if failed else None,
  )


def test_the_best_rate_is_chosen_among_those_that_stay_near():
  rows = [
    swept(1e-4, 0.1, 0.5),
    swept(3e-4, 0.4, -29.0),
    swept(1e-3, 0.8, -99.0),
    swept(1e-2, 0.0, 0.0, "failed"),
  ]
  assert suite.chosen(rows, CELL).metrics["rate"] == 3e-4
  assert suite.chosen(rows[2:], CELL) is None
  other = dataclasses.replace(CELL, weights=sizes.FULL)
  assert suite.chosen(rows, other) is None


def completions(*rewards):
  return [
    folder.Completion(f"{i}", "text", reward, True, 1)
    for i, reward in enumerate(rewards)
  ]


def test_a_win_rate_is_of_all_runs_against_all_draws():
  runs = [completions(1.0, 0.0), completions(0.5, 0.0)]
  draws = [completions(0.5, 0.0), completions(0.0, 1.0)]
  found = training.wins(runs, draws)
  # Of the first opening 1, 1, 1/2, 1; of the second 1/2, 0, 1/2, 0.
  assert found.rate == pytest.approx((3.5 / 4 + 1 / 4) / 2)
  assert (found.prompts, found.comparisons, found.ties) == (2, 8, 3 / 8)


def test_the_pages_say_what_the_committed_rows_say():
  root = pathlib.Path(__file__).parents[2]
  found = results.read(
    folder.Folder(root / "benchmarks" / "results" / "sentiment")
  )
  assert found.missing == []
  page = (root / "docs" / "benchmark.md").read_text(encoding="utf-8")
  for each in found.outcomes:
    assert each.gain.verdict == "better"
    assert each.farthest < sizes.MOST_NATS
    assert each.reload < 1e-4
    assert {row.seed for row in each.rows} == {0, 1, 2}
    numbers = f"{each.mean:.3f} | {each.gain.mean:+.3f} ["
    numbers = numbers.replace("0.", ".")
    (line,) = re.findall(rf"^\| {each.cell.label} \|.*$", page, re.MULTILINE)
    assert numbers in line
    rest = f"{each.win.rate:.3f}".removeprefix("0")
    assert line.endswith(f"{rest} | {each.kl[0]:.1f} | {each.farthest:.1f} |")
  readme = (root / "README.md").read_text(encoding="utf-8")
  (dpo,) = (x for x in found.outcomes if x.cell.label == "DPO, LoRA")
  after = {x.prompt: x for x in dpo.written[0]}
  for shown in samples.choose(found, 4):
    (line,) = re.findall(rf"^\| {shown.opening} \|.*$", readme, re.MULTILINE)
    line = line.replace("\\", "")
    for each in (shown.before, after[shown.opening]):
      assert f"{samples.line(each)} ({each.reward:+.2f})" in line


def test_weights_that_are_not_there_are_a_sentence(tmp_path, capsys):
  out = tmp_path / "out"
  given("--suite=sentiment", f"--weights={tmp_path}/smollm2", f"--out={out}")
  said = capsys.readouterr().err
  assert f"python -m benchmarks.real_files {tmp_path}" in said
  assert said.count("\n") == 1
  assert not out.exists()


def test_flags_of_other_suites_are_refused(tmp_path, capsys):
  (tmp_path / "config.json").write_text("{}")
  weights = f"--weights={tmp_path}"
  assert given("--suite=sentiment", weights, "--methods=dpo") == 2
  assert "--methods has no effect" in capsys.readouterr().err
  assert given("--suite=ops", weights) == 2
  assert "--weights has no effect" in capsys.readouterr().err


def test_a_lexicon_that_is_not_installed_is_a_sentence(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "vaderSentiment", None)
  scores._analyzer.cache_clear()
  with pytest.raises(UserError, match=r"pip install -e '\.\[real\]'"):
    scores.check()
  scores._analyzer.cache_clear()
