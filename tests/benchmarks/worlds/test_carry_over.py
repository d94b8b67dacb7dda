"""What carries over between worlds, on rows whose answer is known."""

import json

import numpy as np
import pytest

from benchmarks.worlds import carry_over
from offalign import leaderboard
from offalign.leaderboard import Row

METHODS = tuple("abcdef")


def save(folder, track, means, *, noise=0.01, seeds=4, prompts=150, notes=()):
  """A folder of rows: gains with noise, efficiency by seed, a win rate."""
  rng = np.random.default_rng(sum(map(ord, track)))
  hard = rng.normal(size=prompts)
  folder.mkdir(parents=True)
  for label, mean in zip(METHODS, means, strict=True):
    for seed in range(seeds):
      gain = np.round(mean + hard + noise * rng.normal(), 4)
      won = rng.random(prompts) < 0.5 + 0.4 * mean
      row = Row(
        track=track,
        scenario="plain",
        loss=f"dpo(beta=0.{1 + METHODS.index(label)})",
        label=label,
        data_view="pairs",
        model="tiny",
        seed=seed,
        budget={"completions": 1, "tokens": 1, "steps": 1},
        metrics={
          "win_vs_sft": float(won.mean()),
          "reward_gain": float(gain.mean()),
          "efficiency": mean + noise * rng.normal(),
        },
        outcomes={
          "win_vs_sft": "".join("lw"[int(x)] for x in won),
          "reward_gain": gain.tolist(),
        },
        prompts=track,
        seconds={"wall": 1.0, "cpu": 1.0},
        peak_memory_mb=1.0,
        versions={"jax": "1"},
      )
      leaderboard.append(folder / "rows.jsonl", row)
  meta = {"title": "made up", "notes": list(notes)}
  (folder / "meta.json").write_text(json.dumps(meta))
  return folder


RISING = np.linspace(0, 0.9, len(METHODS))


@pytest.fixture
def found(tmp_path):
  orders = {
    "first": RISING,
    "same": RISING**2,
    "turned": RISING[::-1],
    "noise": np.zeros(len(METHODS)),
  }
  folders = [save(tmp_path / k, k, v) for k, v in orders.items()]
  return {board.name: board for board in carry_over.boards(folders)}


@pytest.mark.parametrize("metric", ["reward_gain", "efficiency"])
def test_equal_orders_correlate_and_turned_ones_the_other_way(found, metric):
  same = carry_over.compare(found["first"], found["same"], metric, 300)
  assert same.spearman.value == same.kendall.value == 1
  assert same.spearman.low > 0.7
  assert len(same.agree) >= 12
  assert not same.swap
  assert same.pairs == 15
  turned = carry_over.compare(found["first"], found["turned"], metric, 300)
  assert turned.spearman.value == turned.kendall.value == -1
  assert turned.spearman.high < -0.7
  assert not turned.agree
  assert len(turned.swap) == 15
  assert ("f", "a") in turned.swap  # better on the first


def test_of_noise_nothing_is_said(found):
  one = carry_over.compare(found["first"], found["noise"], "reward_gain", 300)
  assert one.spearman.low <= 0 <= one.spearman.high
  assert one.resolved == (15, 0)
  assert not one.agree
  assert not one.swap
  said = carry_over.sentence(one, "reward gain")
  assert "is not resolved" in said
  assert "none is resolved on both and swapped" in said


def test_sentences_say_which_pairs_swap(tmp_path):
  order = RISING.copy()
  order[[0, 1]] = order[[1, 0]]
  folders = [
    save(tmp_path / "one", "one", RISING),
    save(tmp_path / "two", "two", order),
  ]
  one = carry_over.compare(*carry_over.boards(folders), "reward_gain", 300)
  assert one.swap == (("b", "a"),)
  assert len(one.agree) == 14
  said = carry_over.sentence(one, "reward gain")
  assert "carries over to two in part, with exceptions" in said
  assert "on one `b` over `a`" in said


def test_the_page_has_every_metric_and_what_boards_say_of_their_judge(tmp_path):
  note = "two: the judge agrees with people on .6 of pairs"
  save(tmp_path / "one", "one", RISING)
  save(tmp_path / "two", "two", RISING, notes=[note, "two: something else"])
  folders = [str(tmp_path / "one"), str(tmp_path / "two")]
  assert carry_over.main(["", *folders]) == 0
  text = (tmp_path / carry_over.PAGE).read_text()
  for title in carry_over.METRICS.values():
    assert f"## {title[0].upper()}{title[1:]}" in text
  assert text.count("| one and two | 6 |") == 3
  assert f"* {note}" in text
  assert "something else" not in text
  other = tmp_path / "other.md"
  assert carry_over.main(["", *folders, f"--out={other}"]) == 0
  assert other.read_text() == text


@pytest.mark.parametrize(
  ("words", "said"),
  [
    ([], "two boards or more"),
    (["--ouch=1"], "no flag"),
    (["one"], "no two of these boards"),
  ],
)
def test_what_cannot_be_compared_is_refused(
  tmp_path, capsys, monkeypatch, words, said
):
  save(tmp_path / "one", "one", RISING)
  monkeypatch.chdir(tmp_path)
  assert carry_over.main(["", *words]) == 2
  assert said in capsys.readouterr().err


def test_a_loss_is_one_method_at_whatever_strength(tmp_path):
  def row(label, loss):
    return Row(
      track="w",
      scenario="s",
      loss=loss,
      label=label,
      data_view="v",
      model="m",
      seed=0,
      budget={"completions": 1, "tokens": 1, "steps": 1},
      metrics={"win_vs_sft": 0.5},
      seconds={"wall": 1.0, "cpu": 1.0},
      peak_memory_mb=1.0,
      versions={},
    )

  rows = [
    row("kto, prompt threshold", "kto(beta=0.129, threshold=prompt)"),
    row("kto(beta=3)", "kto(beta=3)"),
    row("dro_v", "dro_v(tau=0.119)"),
    row("dro_v, one V", "dro_v(tau=0.05)"),
  ]
  assert list(carry_over._methods(rows).values()) == [
    "kto(threshold=prompt)",
    "kto",
    "dro_v",
    "dro_v, one V",
  ]


def test_boards_that_differ_in_world_and_strengths_wait_for_nearer_ones():
  boards = [
    carry_over.Board(f"{world} {kind}", {}, world, kind)
    for world in ("ops", "edits")
    for kind in ("tuned", "defaults")
  ]
  alone = carry_over.Board("feedback", {}, "feedback", "by hand")
  kept = [
    (a.name, b.name)
    for i, a in enumerate([*boards, alone])
    for b in [*boards, alone][i + 1 :]
    if carry_over._nearest(a, b, [*boards, alone])
  ]
  assert ("ops tuned", "edits defaults") not in kept
  assert ("ops tuned", "ops defaults") in kept
  assert ("ops tuned", "edits tuned") in kept
  assert sum("feedback" in pair for pair in kept) == 4
