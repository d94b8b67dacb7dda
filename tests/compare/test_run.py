"""Two small runs compared, from the prompts to the files."""

import json

import pytest
import talkers

from offalign import leaderboard
from offalign.compare.run import compare_runs
from offalign.errors import UserError
from offalign.generation import completions
from offalign.judges.policies import win_rates
from offalign.policy.policy import Policy

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


def test_rows_pages_and_win_rates_agree(world, tmp_path, capsys):
  spec = f"{world / 'my_score.py'}:score"
  out = tmp_path / "out"
  found = compare_runs(
    [world / "sft", world / "dro"],
    judge=spec,
    out=out,
    prompts=world / "test.jsonl",
  )
  assert "dro completes 9 prompts" in capsys.readouterr().out
  (dro,) = found.others
  read = [
    completions.read(out / "completions" / f"{name}.jsonl")
    for name in ("dro", "sft")
  ]
  same = win_rates(read[0].texts, read[1].texts, read[0].prompts, judge=spec)
  assert (dro.duel.found.rate, dro.duel.found.low, dro.duel.found.high) == (
    same.rate,
    same.low,
    same.high,
  )
  policy = Policy.load(world / "dro")
  drawn = policy.generate(read[0].prompts, verbose=False)
  assert [x.text for x in drawn] == list(read[0].texts)

  rows, problems = leaderboard.read(out)
  assert problems == []
  (sft, row) = rows
  assert row.metrics["win_vs_baseline"] == same.rate
  assert row.metrics["win_vs_baseline_low"] == same.low
  assert "win_vs_baseline" not in sft.metrics
  assert row.metrics["score"] == pytest.approx(
    sum(sum(map(ord, text)) % 7 for text in read[0].texts) / 9
  )
  assert row.metrics["mean_characters"] == pytest.approx(
    sum(map(len, read[0].texts)) / 9
  )
  cost = json.loads((world / "dro" / "cost.json").read_text())
  assert row.budget["steps"] == cost["step"] == 4
  assert row.budget["completions"] == cost["completions"]
  held = policy.metrics
  assert row.metrics["eval_loss"] == held["eval_loss"]
  scale = policy.loss.scale
  assert row.metrics["nats_chosen"] == pytest.approx(
    held["eval_rewards/chosen"] / scale
  )
  assert row.seed == 1
  board = leaderboard.load(out)
  assert [entry.label for entry in board.groups[0].ranked] == ["dro_v"]
  assert (out / "compare.html").stat().st_size > 10_000

  # Again with another judge: nothing is completed anew.
  again = compare_runs(
    [world / "sft", world / "dro"],
    judge=lambda prompt, completion: len(completion),
    out=out,
    prompts=world / "test.jsonl",
    baseline=world / "dro",
  )
  assert "completes" not in capsys.readouterr().out
  assert again.baseline.written.texts == read[0].texts


def test_a_model_folder_may_be_the_baseline(world, tmp_path):
  folder = talkers.write(tmp_path / "model")
  found = compare_runs(
    [world / "dro"],
    baseline=folder,
    judge=f"{world / 'my_score.py'}:score",
    prompts=world / "test.jsonl",
    out=tmp_path / "out",
    verbose=False,
  )
  assert [entry.name for entry in found.entries] == ["model", "dro"]
  assert found.baseline.row is None
  assert "no row of a leaderboard for model" in found.said[1]
  assert found.drawing["max_new_tokens"] == 8  # the run's, for both
  assert len(leaderboard.read(tmp_path / "out")[0]) == 1


def test_mistakes_are_found_before_anything_is_written(world, tmp_path):
  both, out = [world / "sft", world / "dro"], tmp_path / "out"
  given = {"judge": "no_file.py:score", "prompts": world / "test.jsonl"}
  with pytest.raises(UserError, match=r"is no file no_file\.py"):
    compare_runs(both, out=out, **given)
  with pytest.raises(UserError, match="is not a run folder"):
    compare_runs([*both, tmp_path / "none"], out=out, **given)
  with pytest.raises(UserError, match="limit must be at least 1, not 0"):
    compare_runs(both, out=out, limit=0, **given)
  with pytest.raises(UserError, match="is a run folder: name a folder for"):
    compare_runs(both, out=world / "sft", **given)
  assert not out.exists()
