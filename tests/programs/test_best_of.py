"""`offalign generate --best_of`: what is chosen, written and said."""

import json

import misbehaving
import pytest
import runs
import talkers

from offalign.policy.policy import Policy
from offalign.programs import generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return talkers.write_lively(tmp_path_factory.mktemp("t") / "model")


@pytest.fixture
def run(folder, tmp_path):
  (tmp_path / "mine.py").write_text(
    "def letters(prompt, completion):\n  return len(set(completion))\n"
  )

  def started(*arguments):
    given = (f"--run={folder}", "--max_new_tokens=5", *arguments)
    score = f"--score={tmp_path / 'mine.py'}:letters"
    return runs.program(generate, *given, score)

  return started


@pytest.mark.parametrize("select", ["best", "random"])
def test_the_file_has_the_chosen_and_all_scores(
  run, folder, tmp_path, capsys, select
):
  asked, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
  asked.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
  assert (
    run(
      f"--prompts={asked}",
      f"--out={out}",
      "--best_of=4",
      f"--select={select}",
    )
    == 0
  )
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  drawn = Policy.load(folder).generate(
    ["a", "b"], samples=4, max_new_tokens=5, verbose=False
  )
  for i, row in enumerate(rows):
    of_prompt = [x.text for x in drawn[4 * i : 4 * i + 4]]
    assert row["scores"] == [len(set(text)) for text in of_prompt]
    assert row["score"] == len(set(row["completion"]))
    if select == "best":
      assert (
        row["completion"] == of_prompt[row["scores"].index(max(row["scores"]))]
      )
  said = capsys.readouterr().out
  assert f"{select} of 4: score " in said
  at_most = "KL from the policy at most 0.6363 nats, estimated from ties"
  assert (at_most in said) == (select == "best")


@pytest.mark.parametrize("how", ["rubric", "comparison"])
def test_an_endpoint_chooses(folder, tmp_path, capsys, how):
  asked, out = tmp_path / "p.jsonl", tmp_path / "out" / "best.jsonl"
  asked.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
  with misbehaving.running() as server:
    server.rate = lambda prompt, text: str(1 + sum(map(ord, text)) % 9)
    server.judge = lambda prompt, left, right: "A" if left > right else "B"
    spec = server.spec(rubric="default") if how == "rubric" else server.spec()
    given = (f"--run={folder}", f"--prompts={asked}", f"--out={out}")
    more = ("--best_of=3", "--max_new_tokens=5", f"--score={spec}")
    assert runs.program(generate, *given, *more) == 0
    said, calls = capsys.readouterr().out, len(server.seen)
    assert f"the endpoint was called {calls} times" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows:
      assert row["score"] == max(row["scores"])
      if how == "rubric":
        text = row["completion"]
        assert row["score"] == float(server.rate("", text))
      else:
        assert sum(row["scores"]) == 1.5
    # Answers are kept beside the file.
    assert runs.program(generate, *given, *more) == 0
    assert len(server.seen) == calls


def test_one_prompt_is_printed(run, capsys):
  assert run("--prompt=hi", "--best_of=3") == 0
  shown = capsys.readouterr()
  assert shown.out.strip()
  assert "best of 3: score" in shown.err


@pytest.mark.parametrize(
  ("arguments", "error"),
  [
    ((), "--score is for --best_of; leave it out"),
    (("--best_of=3", "--samples=2"), "leave --samples out"),
    (("--best_of=3", "--temperature=0"), "chooses among copies of one"),
    (("--best_of=3", "--select=worst"), "--select=worst is none of best and"),
  ],
)
def test_mistakes_are_sentences(run, arguments, error, capsys):
  assert run("--prompt=hi", *arguments) == 2
  said = capsys.readouterr().err
  assert error in said
  assert said.count("\n") == 1


def test_a_score_is_needed(folder, capsys):
  given = (f"--run={folder}", "--prompt=hi", "--best_of=3")
  assert runs.program(generate, *given) == 2
  assert "--best_of needs --score" in capsys.readouterr().err
