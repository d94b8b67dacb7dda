"""The reward model of rounds, trained further between them."""

import json

import chex
import numpy as np
import pytest
import refits
import rounds
import runs

from offalign import Run
from offalign.judges import scorers
from offalign.policy.folder import read_about
from offalign.training.rounds import refitting


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return refits.reward_model(tmp_path_factory.mktemp("refitting"))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
def test_it_learns_from_the_judge_and_a_kill_changes_nothing(
  folder, tmp_path, monkeypatch
):
  whole = Run(**refits.options(folder, tmp_path / "whole"))
  whole.train(verbose=False)
  _check(folder, whole.folder)

  class Dies(BaseException):
    """As a kill does, it runs nothing more of ours."""

  def die(*args):
    raise Dies(args)

  plain = Run._from_reward_model

  def of_refits_alone(run, state):
    return die() if "refits" in str(run.folder) else plain(run, state)

  out = tmp_path / "killed"
  instants = (
    (refitting, "_write_lines"),  # before labels are kept
    (refitting.Refits, "_config"),  # before the reward model is trained
    (Run, "_from_reward_model"),  # as it begins
    (refitting, "write_json"),  # before the refit is whole
  )
  for where, name in instants:
    with monkeypatch.context() as patch:
      if name == "_from_reward_model":
        patch.setattr(Run, name, of_refits_alone)
      else:
        patch.setattr(where, name, die)
      with pytest.raises(Dies):
        Run(**refits.options(folder, out)).train(verbose=False)
    assert not (out / "rounds" / "2").exists()
  again = Run(**refits.options(folder, out))
  again.train(verbose=False)
  assert [
    {k: v for k, v in line.items() if k != "tokens_per_second"}
    for line in runs.metrics(out)
  ] == [
    {k: v for k, v in line.items() if k != "tokens_per_second"}
    for line in runs.metrics(whole.folder)
  ]
  chex.assert_trees_all_equal(runs.state_of(again), runs.state_of(whole))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
@pytest.mark.parametrize(("pairs", "batch"), [(3, 3), (40, 8)])
def test_without_replay_a_batch_is_no_larger_than_the_new_pairs(
  folder, tmp_path, pairs, batch
):
  data = runs.write_log(tmp_path / "log.jsonl")
  runs.train(
    data, tmp_path / "rm", loss="bradley_terry", steps=2, data__pairs="all"
  )
  judge = str(folder / "gold.py") + ":gold"
  out = tmp_path / "out"
  run = Run(
    **refits.options(
      folder,
      out,
      rounds=2,
      score=f"reward_model(run={str(tmp_path / 'rm')!r})",
      refit=f"refit(judge={judge!r}, pairs={pairs}, steps=1, replay=0)",
    )
  )
  run.train(verbose=False)
  (made,) = (out / "refits").glob("*/model")
  about = read_about(made)
  lines = (made.parent / "pairs.jsonl").read_text().splitlines()
  assert about["config"]["batch_size"] == min(8, len(lines))
  assert about["config"]["data.path"] == str(made.parent / "pairs.jsonl")
  assert (len(lines) <= batch) if batch < 8 else (len(lines) >= batch)


def _check(folder, out):
  """What a run with refits leaves."""
  assert sorted(p.name for p in (out / "refits").iterdir()) == ["2", "3"]
  first = str(folder / "rm")
  assert {f"reward_model(run={first!r})"} == {
    row["scored_by"] for row in rounds.said(out, 1)
  }
  for number in (2, 3):
    made = out / "refits" / str(number)
    lines = (made / "pairs.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert 0 < len(rows) <= 9
    for row in rows:
      good, bad = (
        sum(map(str.isascii, row[k])) for k in ("chosen", "rejected")
      )
      assert good > bad
    about = read_about(made / "model")
    assert about["config"]["init"] == (
      first if number == 2 else str(out / "refits" / "2" / "model")
    )
    seed = read_about(folder / "rm")["config"]["seed"]
    assert about["config"]["seed"] == seed + number  # replays other rows
    assert about["config"]["data.path"] == (
      f"{made / 'pairs.jsonl'}:0.75,{folder / 'pairs.jsonl'}:0.25"
    )
    said = rounds.said(out, number)
    (spec,) = {row["scored_by"] for row in said}
    assert str(made / "model") in spec
    logged = rounds.of_rounds(out)[number - 1]
    kept = json.loads((out / f"rounds/{number}/round.json").read_text())
    pairs = [(row["prompt"], row["completion"]) for row in said]
    np.testing.assert_allclose(
      [row["reward"] for row in said],
      scorers.make(spec)(pairs) + kept["score_shift"],
      rtol=1e-4,
      atol=1e-6,
    )
    assert logged["refit/pairs"] == len(rows)
    assert logged["refit/pairs"] + logged["refit/no_verdict"] == 9
    by_first = scorers.make(f"reward_model(run={first!r})")
    good, bad = (
      by_first([(row["prompt"], row[k]) for row in rows])
      for k in ("chosen", "rejected")
    )
    right = good > bad
    assert logged["refit/agreement_first"] == pytest.approx(np.mean(right))
