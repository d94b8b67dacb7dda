"""`offalign estimate`: what it says of a log, and its mistakes."""

import json

import numpy as np
import pytest
import runs

import offalign as oa
from offalign.programs import estimate

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Two runs, and a log that the first one wrote."""
  folder = tmp_path_factory.mktemp("estimate")
  log = runs.write_log(folder / "first.jsonl")
  for name, seed in (("old", 0), ("new", 1)):
    runs.train(log, folder / name, loss="sft", steps=2, seed=seed)
  old = oa.Policy.load(folder / "old")
  asked = [f"is {i} a nr?" for i in range(180)]
  found = old.generate(asked, max_new_tokens=2, verbose=False)
  rows = [
    {"prompt": x, "completion": y.text or "-", "reward": (i % 7) / 7}
    for i, (x, y) in enumerate(zip(asked, found, strict=True))
  ]
  path = folder / "log.jsonl"
  path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  (folder / "mine.py").write_text("def f(p, c):\n  return len(c)\n")
  return folder, rows, old


def test_the_policy_that_wrote_the_log_is_worth_its_mean(world, capsys):
  folder, rows, _ = world
  given = (f"--run={folder / 'old'}", f"--behaviour={folder / 'old'}")
  out = folder / "to" / "report.json"
  more = (f"--log={folder / 'log.jsonl'}", f"--out={out}")
  assert runs.program(estimate, *given, *more) == 0
  said = capsys.readouterr().out
  assert "not told apart from what wrote the log" in said
  report = json.loads(out.read_text())
  mean = np.mean([row["reward"] for row in rows])
  assert report["effective"] == pytest.approx(180)
  assert report["estimates"]["importance"]["value"] == pytest.approx(mean)


def test_logged_log_probs_and_a_named_policy_say_the_same(world, capsys):
  folder, rows, old = world
  logps = old.logps(rows)
  with_logps = folder / "logged.jsonl"
  with_logps.write_text(
    "".join(
      json.dumps({**row, "behaviour_logps": float(logp)}) + "\n"
      for row, logp in zip(rows, logps, strict=True)
    )
  )
  said = []
  for log, behaviour in (
    (folder / "log.jsonl", (f"--behaviour={folder / 'old'}",)),
    (with_logps, ()),
  ):
    given = (f"--run={folder / 'new'}", f"--log={log}", *behaviour)
    status = runs.program(
      estimate, *given, f"--fn={folder / 'mine.py'}:f", "--samples=1"
    )
    said.append((status, capsys.readouterr().out))
  assert said[0] == said[1]
  status, text = said[0]
  if status == 0:
    assert "doubly robust" in text
  else:
    assert "no estimate: " in text


def test_mistakes_are_sentences(world, tmp_path, capsys):
  folder, *_ = world
  run, log = f"--run={folder / 'new'}", f"--log={folder / 'log.jsonl'}"
  bare = tmp_path / "bare.jsonl"
  bare.write_text('{"prompt": "a", "completion": "b"}\n')
  for given, said in (
    ((run, log), "name that policy by --behaviour"),
    ((run, log, "--fn=a:b", "--reward_model=x"), "not both"),
    ((run, log, "--samples=2"), "--samples are drawn for"),
    ((run, f"--log={bare}", run.replace("run", "behaviour")), "no reward"),
    ((run, log, "--behaviour=nowhere"), "nowhere"),
    ((log,), "--run"),
  ):
    assert runs.program(estimate, *given) == 2, given
    error = capsys.readouterr().err
    assert said in error, error
    assert error.count("\n") == 1, error
