"""The held-out prompts: a seed of their own, kept from run to run."""

import json

import pytest
import runs

from offalign import data
from offalign.policy.policy import Policy
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("one_device", "compiled_once")


@pytest.fixture
def log(tmp_path):
  return runs.write_log(tmp_path / "log.jsonl")


@pytest.fixture
def parent(log, tmp_path):
  return runs.train(log, tmp_path / "sft", loss="sft", steps=2)


def child(log, out, parent, **changes):
  given = {"init": str(parent.folder), "model": None, "tokenizer": None}
  return Run(runs.config(log, out, **given | changes))


def held(run):
  return set(run.inputs.held_prompts)


def test_seeds_share_one_test_set(log, tmp_path):
  both = [Run(runs.config(log, tmp_path / str(s), seed=s)) for s in (0, 3)]
  assert held(both[0]) == held(both[1])
  one, other = (run.inputs.rows["held_out"].keys() for run in both)
  assert one == other
  records = data.load(log).records
  for seed, run in (
    (0, both[1]),
    (5, Run(runs.config(log, tmp_path / "s", data__split_seed=5))),
  ):
    _, kept = data.split_by_prompt(records, 0.25, seed=seed)
    assert run.inputs.held == kept


def test_the_run_folder_says_what_is_held_out(parent, log):
  about = json.loads((parent.folder / "run.json").read_text())
  assert about["config"]["data.split_seed"] == 0
  assert about["config"]["steps"] == 2
  kept = data.load(str(parent.folder / "held_out.jsonl")).records
  assert [(r.prompt, r.completions, r.rewards) for r in kept] == [
    (r.prompt, r.completions, r.rewards) for r in parent.inputs.held
  ]
  policy = Policy.load(parent.folder)
  assert set(policy.held_out()) == held(parent)


def test_a_child_holds_out_what_its_parent_does(parent, log, tmp_path):
  rows = runs.rows_of(log)
  more = [{**r, "prompt": r["prompt"].replace("mb", "tt")} for r in rows]
  every = {"more": rows + more, "less": rows[:40], "all": rows}
  for name, given in every.items():
    path = runs.write(tmp_path / f"{name}.jsonl", given)
    run = child(path, tmp_path / name, parent, seed=7)
    prompts = {row["prompt"] for row in given}
    old = held(parent) & prompts
    assert old
    assert old <= held(run)
    assert not (held(run) - old) & {row["prompt"] for row in rows}
    assert not [s for s in run.inputs.sentences if "warning" in s]
    if name == "more":
      assert len(held(run)) == 8
    assert run.config.data.split_seed == 0


def test_a_leak_is_said_with_its_prompts(parent, log, tmp_path):
  run = child(log, tmp_path / "a", parent, data__split_seed=9)
  new, old = held(run), held(parent)
  assert new != old
  said = [runs.in_flags(s) for s in run.inputs.sentences if "warning" in s]
  lost = [p for p in run.inputs.trained_prompts if p in old]
  assert said[0].startswith(
    f"warning: {len(lost)} of the 12 prompts to train on are held out by "
    f"{parent.folder}, which from now on is no test of this policy: "
    f"{lost[0]!r}"
  )
  met = [p for p in run.inputs.held_prompts if p not in old]
  assert said[1] == (
    f"warning: {len(met)} of the 4 held-out prompts were trained on by "
    f"{parent.folder}, so held-out figures flatter the run: "
    f"{', '.join(map(repr, met))}; without --cfg.data.split_seed, this run "
    "holds out what that one does"
  )
  run = child(log, tmp_path / "b", parent, data__eval_fraction=0)
  (said,) = [s for s in run.inputs.sentences if "warning" in s]
  assert said.startswith("warning: 4 of the 16 prompts to train on are held")


def test_a_parent_that_trained_on_all(log, tmp_path):
  given = {"loss": "sft", "steps": 2, "data__eval_fraction": 0}
  parent = runs.train(log, tmp_path / "sft", **given)
  assert not (parent.folder / "held_out.jsonl").exists()
  run = child(log, tmp_path / "a", parent)
  (said,) = [s for s in run.inputs.sentences if "warning" in s]
  assert said.startswith("warning: 4 of the 4 held-out prompts were trained on")


def test_data_that_the_parent_holds_out_whole(parent, log, tmp_path):
  rows = [r for r in runs.rows_of(log) if r["prompt"] in held(parent)]
  path = runs.write(tmp_path / "held.jsonl", rows)
  given = {"init": str(parent.folder), "model": None, "tokenizer": None}
  assert runs.refused(path, tmp_path / "a", **given).endswith(
    "none is left to train on: name other data, or give --cfg.data.split_seed "
    "to hold out others"
  )


def test_a_seed_that_nothing_reads(log, tmp_path):
  changes = {"data__split_seed": 1, "data__eval_fraction": 0}
  assert runs.refused(log, tmp_path / "a", **changes) == (
    "--cfg.data.split_seed=1 has no effect beside --cfg.data.eval_fraction=0; "
    "leave one of them out"
  )
  assert runs.refused(log, tmp_path / "a", data__split_seed=-1) == (
    "--cfg.data.split_seed must be 0 or more, not -1"
  )


def test_a_run_of_an_earlier_version_goes_on_with_its_split(log, tmp_path):
  old = runs.train(log, tmp_path / "a", seed=3, data__split_seed=3, steps=2)
  for name in ("held_out.jsonl", "prompts.npz"):
    (old.folder / name).unlink()
  path = old.folder / "run.json"
  about = json.loads(path.read_text())
  del about["config"]["data.split_seed"]
  path.write_text(json.dumps(about))
  again = Run(runs.config(log, old.folder, seed=3, steps=4))
  assert held(again) == held(old)
  born = child(log, tmp_path / "b", old)
  assert held(born) == held(old)
  assert "did not write down its prompts" in " ".join(born._said)
