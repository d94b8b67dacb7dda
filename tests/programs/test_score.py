"""`offalign score`: what it writes and says, and its mistakes."""

import json

import pytest
import runs

from offalign.programs import score


@pytest.fixture
def new(tmp_path):
  path = tmp_path / "new.jsonl"
  path.write_text('{"prompt": "a", "completion": "bcd"}\n')
  (tmp_path / "mine.py").write_text("def f(p, c):\n  return len(p + c)\n")
  return path


@pytest.mark.parametrize("flag", ["fn", "score"])
def test_it_writes_rows(new, tmp_path, capsys, flag):
  out = tmp_path / "to" / "rated.jsonl"
  fn = f"--{flag}={tmp_path / 'mine.py'}:f"
  assert runs.program(score, f"--completions={new}", f"--out={out}", fn) == 0
  (row,) = map(json.loads, out.read_text().splitlines())
  assert row == {"prompt": "a", "completion": "bcd", "reward": 4.0}
  assert "wrote 1 row to" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("more", "error"),
  [
    ((), "give one of --fn, --run and --score"),
    (("--fn=a:b", "--run=rm"), "give one of --fn, --run and --score"),
    (("--score=a.py:b", "--step=best"), "--step is for --run"),
    (("--score=reward_model(runs='a')",), "must name two run folders"),
    (
      ("--score=endpoint(url='https://x/v1', model=m)",),
      "compares two complet",
    ),
    (("--fn=a:b", "--step=best"), "--step is for --run"),
    (("--fn=nowhere",), "write it like"),
    (("--run=nowhere",), "is not a run folder"),
  ],
)
def test_mistakes_are_sentences(new, tmp_path, more, error, capsys):
  given = (f"--completions={new}", f"--out={tmp_path / 'x.jsonl'}", *more)
  assert runs.program(score, *given) == 2
  said = capsys.readouterr().err
  assert error in said
  assert said.count("\n") == 1
  assert not (tmp_path / "x.jsonl").exists()
