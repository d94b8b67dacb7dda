"""Which policies take part: names, order and refusals."""

import json
import types

import pytest

from offalign.compare import contestants
from offalign.errors import UserError
from offalign.policy.policy import Policy


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  """`Policy.load` opens any folder, and says which steps were asked for."""
  asked = []

  def load(path, step="newest"):
    asked.append((str(path), step))
    about = {"loss": "rm" if "rm" in str(path) else "dpo", "config": {}}
    about["trains"] = "rewards" if about["loss"] == "rm" else "policy"
    return types.SimpleNamespace(about=about, step=4, folder=path)

  monkeypatch.setattr(Policy, "load", load)
  return asked


def names(*paths, **options):
  found = contestants.open_all([str(path) for path in paths], **options)
  return [one.name for one in found]


def test_the_baseline_comes_first():
  assert names("runs/a", "runs/b") == ["a", "b"]
  assert names("runs/a", "runs/b", baseline="./runs/b") == ["b", "a"]
  assert names("runs/a", baseline="runs/c") == ["c", "a"]


def test_equal_names_are_whole_paths():
  assert names("x/run", "y/run", "z") == ["x/run", "y/run", "z"]


def test_a_step_is_of_runs_alone(opened, tmp_path):
  run = tmp_path / "run"
  run.mkdir()
  (run / "run.json").write_text("{}")
  names(run, tmp_path / "model", step="best")
  assert [step for _, step in opened] == ["best", "newest"]


@pytest.mark.parametrize(
  ("paths", "sentence"),
  [
    (["a"], "two runs or more"),
    (["a", "b", "./a"], "./a comes twice"),
    (["a", "rm"], "rm trained a reward model"),
  ],
)
def test_what_cannot_be_compared(paths, sentence):
  with pytest.raises(UserError, match=sentence):
    names(*paths)


def test_the_identity_changes_with_the_run(tmp_path):
  folder = tmp_path / "run"
  folder.mkdir()
  (folder / "run.json").write_text("{}")
  (one, _) = contestants.open_all([str(folder), "b"])
  before = one.identity()
  assert one.identity() == before
  line = json.dumps({"step": 1, "loss": 0.5})
  (folder / "metrics.jsonl").write_text(line + "\n")
  assert one.identity() != before
