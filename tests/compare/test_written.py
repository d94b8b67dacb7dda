import types

import comparisons
import pytest

from offalign.compare import written
from offalign.errors import UserError, render
from offalign.generation.completing import Completed
from offalign.policy.policy import Policy


def test_files_are_named_after_the_policies():
  given = ["a", "A", "x/run", "x run", "..", "a-2"]
  names = written.files([comparisons.contestant(name) for name in given])
  assert names == [
    "a.jsonl",
    "A-2.jsonl",
    "x-run.jsonl",
    "x-run-2.jsonl",
    "policy.jsonl",
    "a-2-2.jsonl",
  ]


def test_one_limit_for_all():
  def of(*limits):
    return [
      comparisons.contestant(
        "a", config={"data.max_completion": n}, longest_completion=n
      )
      for n in limits
    ]

  assert written.common_limit(of(8, 16), 5) == (5, "")
  assert written.common_limit(of(8, 8), None) == (None, "")
  tokens, why = written.common_limit(of(8, 16), None)
  assert tokens == 16
  assert render(why).startswith("completions of 16 tokens at most")
  model = comparisons.contestant("m", loss=None)
  assert written.common_limit([*of(8), model], None)[0] == 8
  assert written.common_limit([model], None) == (None, "")


@pytest.fixture
def calls(monkeypatch):
  found = []

  def generate(prompts, verbose, **drawing):
    found.append((tuple(prompts), drawing))
    return [Completed(f"{p}!", 2, True) for p in prompts]

  policy = types.SimpleNamespace(generate=generate)
  monkeypatch.setattr(Policy, "load", lambda path, step: policy)
  return found


def test_completions_are_written_once(calls, tmp_path):
  them = [comparisons.contestant(name, tmp_path / name) for name in "ab"]

  def write(prompts=("p", "q"), **drawing):
    return written.write_all(them, prompts, {"seed": 0} | drawing, tmp_path)

  first = write()
  assert [x.texts for x in first] == [("p!", "q!")] * 2
  assert [x.name for x in first] == ["a", "b"]
  assert first[0].ends[0].tokens == 2
  assert len(calls) == 2
  assert write() == first
  assert len(calls) == 2
  write(seed=1)
  write(prompts=("p",), seed=1)
  assert len(calls) == 6
  (tmp_path / written.FOLDER / "made.json").write_text("{")
  write(prompts=("p",), seed=1)
  assert len(calls) == 8


def test_whose_prompt_cannot_be_completed_is_said(calls, tmp_path, monkeypatch):
  def generate(prompts, **drawing):
    raise UserError("a prompt has no token")

  policy = types.SimpleNamespace(generate=generate)
  monkeypatch.setattr(Policy, "load", lambda path, step: policy)
  with pytest.raises(UserError, match="runs/a: a prompt has no token"):
    written.write_all(
      [comparisons.contestant("a", "runs/a")], [""], {}, tmp_path
    )


def test_a_run_folder_is_no_place_for_a_report(tmp_path):
  (tmp_path / "run.json").write_text("{}")
  with pytest.raises(UserError, match="is a run folder: name a folder"):
    written.check_folder(tmp_path)
  with pytest.raises(UserError, match="is a file"):
    written.check_folder(tmp_path / "run.json")
  board = tmp_path / "board"
  board.mkdir()
  (board / "rows.jsonl").write_text("")
  with pytest.raises(UserError, match=r"has a rows\.jsonl of its own"):
    written.check_folder(board)
  (board / "compare.json").write_text("{}")
  written.check_folder(board)
