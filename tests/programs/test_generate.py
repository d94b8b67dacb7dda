"""Prompts of a file, of the command line and of the standard input."""

import io
import json
import sys

import engines
import pytest
import runs
import talkers

from offalign import load_data
from offalign.policy.policy import Policy
from offalign.programs import generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return talkers.write_lively(tmp_path_factory.mktemp("t") / "model")


@pytest.fixture
def run(folder, monkeypatch):
  """Runs the program; returns its status."""

  def started(*arguments, typed=""):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    given = (f"--run={folder}", "--max_new_tokens=5", *arguments)
    return runs.program(generate, *given)

  return started


def test_a_prompt_of_the_command_line(run, folder, capsys):
  assert run("--prompt=hi", "--temperature=0") == 0
  policy = Policy.load(folder)
  options = {"temperature": 0, "max_new_tokens": 5, "verbose": False}
  (chat,) = policy.generate([(("user", "hi"),)], **options)
  shown = capsys.readouterr()
  assert shown.out.strip() == chat.text.strip()
  assert "1 of 1 completions did not end within 5 tokens" in shown.err
  assert run("--prompt=hi", "--temperature=0", "--nochat") == 0
  (plain,) = policy.generate(["hi"], **options)
  assert capsys.readouterr().out.strip() == plain.text.strip()
  assert plain.text != chat.text


def test_lines_of_the_standard_input(run, capsys):
  assert run("--samples=2", typed="one\n\ntwo\n") == 0
  lines = capsys.readouterr().out.split("\n")
  assert [line for line in lines if line.startswith("> ")] == ["> one", "> two"]


def test_a_file_of_several_samples(run, tmp_path, capsys):
  asked = tmp_path / "p.jsonl"
  asked.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
  out = tmp_path / "out.jsonl"
  assert run(f"--prompts={asked}", f"--out={out}", "--samples=3") == 0
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row["prompt"] for row in rows] == ["a"] * 3 + ["b"] * 3
  assert "wrote 6 completions" in capsys.readouterr().out


def test_samples_have_the_tokens_that_were_drawn(run, folder, tmp_path, capsys):
  asked = tmp_path / "p.jsonl"
  chat = {"prompt": [{"role": "user", "content": "b"}]}
  lines = [{"prompt": "a"}, chat, {"prompt": "a"}]
  asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
  out = tmp_path / "out.jsonl"
  drawing = ("--temperature=0.7", "--top_k=50", "--seed=2")
  given = (f"--prompts={asked}", f"--out={out}", *drawing)
  assert run(*given, "--samples=2") == 0
  assert "3 lines of 2 distinct prompts" in capsys.readouterr().out
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  assert len(rows) == 4
  done = Policy.load(folder).generate(
    ["a", (("user", "b"),)],
    samples=2,
    max_new_tokens=5,
    temperature=0.7,
    top_k=50,
    seed=2,
    verbose=False,
  )
  records = load_data(out).records
  for record, row, x in zip(records, rows, done, strict=True):
    assert record.ids[0].tolist() == list(x.ids) == row["completion_ids"]
    assert row["logprobs"] == list(x.logprobs)
    assert row["tokens"] == len(x.ids)
  # Without them the lines are those that judges read.
  assert run(*given, "--samples=2", "--notokens") == 0
  plain = [json.loads(line) for line in out.read_text().splitlines()]
  assert all("logprobs" not in row for row in plain)
  assert plain[2]["completion"] == done[2].text
  assert run(*given, "--tokens") == 0
  one = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row["completion_ids"] for row in one] == [
    list(done[0].ids),
    list(done[2].ids),
  ]


def test_nothing_drawn_has_no_log_probs(run, tmp_path, capsys):
  asked, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
  asked.write_text('{"prompt": "a"}\n')
  given = (f"--prompts={asked}", f"--out={out}", "--temperature=0")
  assert run(*given, "--tokens") == 0
  assert "no log-probs are written" in capsys.readouterr().out
  (row,) = map(json.loads, out.read_text().splitlines())
  assert row["completion_ids"]
  assert "logprobs" not in row


@pytest.mark.parametrize(
  ("arguments", "error"),
  [
    ((), "there is no prompt: what was given is empty"),
    (("--prompt= ",), "there is no prompt: what was given is empty"),
    (("--prompts=x.jsonl",), "--out is missing"),
    (
      ("--prompts=x.jsonl", "--prompt=hi", "--out=y"),
      "--prompt is set beside --prompts",
    ),
    (("--prompts=x.jsonl", "--chat", "--out=y"), "--chat is for prompts that"),
    (("--prompt=a", "--tokens"), "--tokens is of a file: name it with --out"),
    (("--prompt=a", "--top_k=3", "--temperature=0"), "no effect at temperatur"),
  ],
)
def test_mistakes_are_sentences(run, arguments, error, capsys):
  assert run(*arguments) == 2
  said = capsys.readouterr().err
  assert error in said
  assert said.count("\n") == 1


def test_an_engine_writes_what_training_reads(run, tmp_path, capsys):
  asked, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
  asked.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
  with engines.running() as server:
    given = (f"--prompts={asked}", f"--out={out}", "--samples=2", "--seed=3")
    assert run(*given, f"--sampler={server.spec()}") == 0
    assert "wrote 4 completions of m to" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    bodies = sorted(server.bodies, key=lambda body: body["prompt"])
    said = [engines.told(body, k) for body in bodies for k in range(2)]
    for row, choice in zip(rows, said, strict=True):
      assert row["completion_ids"] == choice["token_ids"]
      assert row["logprobs"] == choice["logprobs"]["token_logprobs"]
      assert row["finished"] == (choice["finish_reason"] == "stop")
    assert load_data(str(out), form="sft").records[0].behaviour_logps
    # Raw log-probs are not those of another temperature; text has none.
    cool = (*given, "--temperature=0.5")
    assert run(*cool, f"--sampler={server.spec()}") == 0
    assert "4 of 4 completions have no log-probs" in capsys.readouterr().out
    assert '"logprobs"' not in out.read_text()
    assert run(*cool, f"--sampler={server.spec(logprobs='processed')}") == 0
    assert out.read_text().count('"logprobs"') == 4
    server.reply = lambda body: engines.answer(body, ids=False)
    assert run(*given, f"--sampler={server.spec()}") == 0
    assert "came without token ids" in capsys.readouterr().out
    assert "completion_ids" not in out.read_text()
    server.failures = [401]
    assert run(*given, f"--sampler={server.spec()}") == 2
    assert "the sampler at http" in capsys.readouterr().err
