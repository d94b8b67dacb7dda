"""A run that was cut off goes on as if it had not been."""

import json
import pathlib
import shutil
import subprocess
import sys

import chex
import killing
import pytest
import runs
import xla_flags

from offalign.errors import UserError
from offalign.reference import store as reference
from offalign.training.run import Run

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


@pytest.fixture
def half(log, tmp_path):
  """A run that stopped at step 4 of 8."""
  return runs.train(log, tmp_path / "half", steps=4)


def test_half_and_then_all_is_all(log, half, tmp_path, capsys, monkeypatch):
  whole = runs.train(log, tmp_path / "whole", steps=8)
  capsys.readouterr()
  scored = []
  add = reference.Store.add

  def recorded(store, keys, logps):
    scored.append(len(keys))
    add(store, keys, logps)

  monkeypatch.setattr(reference.Store, "add", recorded)
  resumed = runs.train(log, half.folder, steps=8)
  assert f"going on after step 4 of {half.folder}" in capsys.readouterr().out
  assert runs.metrics(half.folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(resumed), runs.state_of(whole))
  assert int(runs.state_of(resumed).step) == 8
  # Of 48 rows, the first four steps drew 32 and scored them then.
  assert sum(scored) == 16


def test_lines_after_the_checkpoint_are_written_again(log, half, tmp_path):
  whole = runs.train(log, tmp_path / "whole", steps=8)
  with (half.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
    file.write('{"step": 6, "loss": 99.0}\n{"step": 8, "lo')
  unfinished = half.folder / "checkpoints" / "6.orbax-checkpoint-tmp"
  shutil.copytree(half.folder / "checkpoints" / "4", unfinished)
  runs.train(log, half.folder, steps=8)
  assert runs.metrics(half.folder) == runs.metrics(whole.folder)
  assert not unfinished.exists()


def test_a_run_cut_off_before_its_first_checkpoint_begins_again(log, tmp_path):
  whole = runs.train(log, tmp_path / "whole", steps=4)
  before = runs.metrics(whole.folder)
  shutil.rmtree(whole.folder / "checkpoints")
  runs.train(log, whole.folder, steps=4)
  assert runs.metrics(whole.folder) == before


def test_a_finished_run_says_so_and_changes_nothing(log, half, capsys):
  held = runs.metrics(half.folder)[-1]
  before = runs.contents(half.folder)
  capsys.readouterr()
  again = Run(runs.config(log, half.folder, steps=4)).train().metrics
  lock = {"lock": before["lock"]}  # says who looked last
  assert runs.contents(half.folder) | lock == before
  assert again == {k: v for k, v in held.items() if k != "step"}
  said = capsys.readouterr().out
  assert said == (
    f"nothing to do: {half.folder} is at step 4 of 4; a larger steps goes "
    "on from there\n"
  )


def test_going_on_with_something_else_is_refused(log, half, tmp_path):
  before = runs.contents(half.folder)

  def refuse(sentence, path=log, **changes):
    with pytest.raises(UserError, match=sentence):
      runs.train(path, half.folder, steps=8, **changes)
    assert runs.contents(half.folder) == before

  refuse(
    r"holds a run with other options \(loss was 'dro_v', is 'kto'\): "
    r"give the same options to go on with it, or name another out",
    loss="kto",
  )
  text = pathlib.Path(log).read_text(encoding="utf-8")
  try:
    pathlib.Path(log).write_text(text.replace("no, 0", "no, 1", 1))
    refuse("was begun with other data .* name another out")
  finally:
    pathlib.Path(log).write_text(text)


def test_another_reference_is_refused(log, half):
  about = json.loads((half.folder / "run.json").read_text())
  changed = half.folder / "other"
  shutil.copytree(half.folder, changed)
  about["start"] = "another policy"
  (changed / "run.json").write_text(json.dumps(about))
  about["config"]["out"] = str(changed)
  with pytest.raises(UserError, match="begun with another starting policy"):
    runs.train(log, changed, steps=8)


KILLS = 18


def test_a_run_killed_at_any_moment_is_the_same_to_the_bit(tmp_path):
  """SIGKILL, and here and there SIGTERM; see `killing` for when."""
  log = runs.write_log(tmp_path / "log.jsonl", prompts=40)
  given = runs.flags(
    log, None, steps=60, log_every=3, eval_every=10, save_every=4
  )
  done = subprocess.run(
    [
      sys.executable,
      killing.__file__,
      *(str(tmp_path), "1", str(KILLS)),
      *runs.as_args(given),
    ],
    env=xla_flags.environment()
    | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  hit = json.loads(done.stdout)
  assert hit["killed"] == KILLS
  assert min(hit["saving"], hit["reference"], hit["asked"]) >= 1, hit
  whole = Run(runs.config(log, tmp_path / "whole", steps=60))
  expected, held = runs.state_of(whole), runs.metrics(whole.folder)
  known = reference.Store(whole.folder / "reference", whole._identity).known
  for i in range(1, hit["runs"] + 1):
    folder = tmp_path / f"cut-{i}"
    assert runs.metrics(folder) == held
    chex.assert_trees_all_equal(runs.state_of(whole, folder), expected)
    store = reference.Store(folder / "reference", whole._identity)
    assert store.known == known
