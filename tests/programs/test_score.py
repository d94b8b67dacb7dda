"""`offalign score`: what it writes and says, and its mistakes."""

import json

import misbehaving
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
      "compares completions of a prompt, and 'a' has one alone",
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


def test_what_an_endpoint_does_not_rate_is_written_as_not_rated(
  tmp_path, capsys
):
  out, file = tmp_path / "to" / "rated.jsonl", tmp_path / "new.jsonl"
  file.write_text(
    '{"prompt": "a", "completion": "bcd"}\n'
    '{"prompt": "b", "completion": "x"}\n{"prompt": "c", "completion": "yz"}\n'
  )
  with misbehaving.running() as server:
    server.plan["b"] = ["no", "no"]
    score_ = f"--score={server.spec(rubric='default', workers=1)}"
    given = (f"--completions={file}", f"--out={out}")
    assert runs.program(score, *given, score_) == 0
    said = capsys.readouterr().out
    assert "1 of 3 completions have no score (answers malformed: 1)" in said
    assert "called 3 times, for 24 tokens; 0 answers were known" in said
    assert "reward mean 2.5, from 2 to 3" in said
    rows = [json.loads(line)["reward"] for line in out.open()]
    assert rows == [3, None, 2]
    server.rate = lambda *_: "none"
    file.write_text('{"prompt": "a", "completion": "?"}\n')
    assert runs.program(score, *given, score_) == 2
    assert "no completion has a score, so nothing" in capsys.readouterr().err
