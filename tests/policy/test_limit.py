import dataclasses
import json

import pytest
import runs

from offalign import models
from offalign.errors import UserError
from offalign.policy import limit
from offalign.policy.limit import FALLBACK, Limit, bounded, of_data, of_run
from offalign.policy.policy import Policy

LEARNED = (
  "decoder(width=16, layers=1, heads=2, positions=learned, max_positions=40)"
)
LONG = FALLBACK + 75


def about(**more):
  return {"config": {"data.max_completion": FALLBACK}, **more}


def test_a_default_is_no_shorter_than_what_was_trained_on():
  assert of_data(FALLBACK, LONG) == LONG
  assert of_data(FALLBACK, 10) == FALLBACK
  assert of_data(30, LONG) == 30
  assert of_run(about(longest_completion=LONG)) == Limit(LONG)


@pytest.mark.parametrize("found", [None, "x", 0, True, 3.5])
def test_a_run_that_does_not_say_gets_a_limit_that_is_said(found):
  known = of_run(about(longest_completion=found))
  assert known.tokens == FALLBACK
  assert f"{FALLBACK} tokens at most; " in known.why
  assert of_run({"config": {}}).tokens == FALLBACK


def test_positions_bound_a_default():
  model = models.make(LEARNED, vocab_size=20)
  assert model.max_positions == 40
  assert models.make("t5", vocab_size=20).max_positions is None
  assert bounded(Limit(30), model, 10) == Limit(30)
  found = bounded(Limit(31), model, 10)
  assert found.tokens == 30
  assert "made for 40 positions, and the longest prompt takes 10" in found.why
  with pytest.raises(UserError, match="takes 40 of the 40 positions"):
    bounded(Limit(1), model, 40)
  assert limit.passes(30, model, 10) == ""
  assert "pass the 40 positions" in limit.passes(31, model, 10)
  free = dataclasses.replace(model, max_positions=None)
  assert bounded(Limit(10**6), free, 10) == Limit(10**6)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
  """Trained at the default limit, which cuts completions of 331 tokens."""
  folder = tmp_path_factory.mktemp("long")
  rows = [
    {"prompt": f"{i}?", "completion": "la" * 165 + "!"[: i % 2]}
    for i in range(12)
  ]
  lines = [json.dumps(row) + "\n" for row in rows]
  (folder / "rows.jsonl").write_text("".join(lines))
  return runs.train(
    folder / "rows.jsonl",
    folder / "run",
    loss="sft",
    steps=1,
    batch_size=8,
    data__max_completion=FALLBACK,
  )


def test_a_run_records_and_generates_its_longest_completion(long_run, capsys):
  about = json.loads((long_run.folder / "run.json").read_text())
  whole = about["longest_completion"]
  assert whole in (331, 332)  # an end of text beside the 330 letters
  said = "\n".join(long_run.inputs.sentences)
  assert f"the longest has {whole}: max_completion={whole} keeps all" in said
  assert "no completion keeps its end" in said
  policy = Policy.load(long_run.folder)
  capsys.readouterr()
  done = policy.generate(["1?", "2?"], temperature=0)
  cut = [x for x in done if not x.finished]
  assert all(x.tokens == whole for x in cut)
  said = capsys.readouterr().out
  assert (f"within {whole} tokens: max_new_tokens" in said) == bool(cut)


def test_an_older_run_says_its_fallback(long_run, capsys):
  policy = Policy.load(long_run.folder)
  old = {k: v for k, v in policy.about.items() if k != limit.LONGEST}
  policy = Policy(policy.folder, old, policy.step)
  capsys.readouterr()
  done = policy.generate(["1?"], temperature=0)
  assert done[0].tokens <= FALLBACK
  assert "as those of earlier versions do not" in capsys.readouterr().out


def test_a_model_of_few_positions_generates(tmp_path, capsys):
  log = runs.write_log(tmp_path / "log.jsonl")
  run = runs.train(
    log,
    tmp_path / "run",
    model=LEARNED,
    loss="sft",
    steps=1,
    data__max_completion=FALLBACK,
  )
  capsys.readouterr()
  done = Policy.load(run.folder).generate(["is 1 a number?"], temperature=0)
  said = capsys.readouterr().out
  assert "made for 40 positions" in said
  assert done[0].tokens <= 40 - 14


def test_log_probs_say_what_is_cut(long_run, capsys):
  policy = Policy.load(long_run.folder)
  capsys.readouterr()
  policy.logps([{"prompt": "1?", "completion": "la" * 165}])
  said = capsys.readouterr().out
  assert f"1 completion cut to the first {FALLBACK} tokens" in said
