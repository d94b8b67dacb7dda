"""A policy opened from a run folder."""

import json

import jax
import numpy as np
import pytest
import runs

from offalign.errors import UserError
from offalign.policy import start
from offalign.policy.policy import Policy, conversations

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("offalign.distributed.sharding.jax.devices", first_device)
    log = runs.write_log(folder / "log.jsonl")
    return runs.train(log, folder / "out", keep_best="eval_loss")


_DEVICES = jax.devices


def first_device():
  return _DEVICES()[:1]


def test_what_a_folder_says(run):
  policy = Policy.load(run.folder)
  assert (policy.step, str(policy.loss)) == (4, "dro_v")
  assert Policy.load(run.folder, 2).step == 2
  assert Policy.load(str(run.folder), "2").step == 2
  assert policy.model.spec == runs.DECODER
  assert policy.tokenizer.fingerprint == policy.about["tokenizer"]
  assert repr(policy) == (
    f"Policy({str(run.folder)!r}, step=4: dro_v, {runs.DECODER})"
  )
  evaluated = {
    line["step"]: line["eval_loss"]
    for line in runs.metrics(run.folder)
    if line["step"] and "eval_loss" in line
  }
  best = min(evaluated, key=evaluated.get)
  assert Policy.load(run.folder, "best").step == best


def test_attention_may_be_chosen(run):
  rows = run.folder.parent / "log.jsonl"
  want = Policy.load(run.folder).logps(rows)
  got = Policy.load(run.folder, attention="blockwise").logps(rows)
  np.testing.assert_allclose(got, want, rtol=1e-5)
  with pytest.raises(UserError, match=r"^attention must be one of .* 'blok'"):
    Policy.load(run.folder, attention="blok")
  with pytest.raises(UserError, match="splash attention is a kernel of TPUs"):
    _ = Policy.load(run.folder, attention="splash").model


def test_weights_are_read_once_and_when_needed(run, monkeypatch, tmp_path):
  calls = []
  restore = start.restore
  monkeypatch.setattr(
    start, "restore", lambda *args: calls.append(args) or restore(*args)
  )
  policy = Policy.load(run.folder)
  (tmp_path / "there").write_text("mine")
  with pytest.raises(UserError, match="is there already"):
    policy.export(tmp_path)
  assert not calls
  policy.generate(["is 1 a number?"], max_new_tokens=2)
  policy.generate(["is 2 a number?"], max_new_tokens=2)
  assert len(calls) == 1


def test_completions_are_the_same_each_time(run, capsys):
  policy = Policy.load(run.folder)
  talk = [{"role": "user", "content": "hi"}]
  assert policy.generate([talk]) == policy.generate([(("user", "hi"),)])
  prompts = ["is 1 a number?", "is 2 a number?", "is 3 a number?"]
  done = policy.generate(prompts, batch_size=2)
  assert [str(x) for x in done] == [x.text for x in done]
  assert done == Policy.load(run.folder).generate(prompts, batch_size=2)
  assert all(x.tokens <= 8 for x in done)  # the run's own limit
  assert policy.generate(prompts, seed=1, batch_size=2) != done
  greedy = policy.generate(prompts, temperature=0)
  assert greedy == policy.generate(prompts, temperature=0, seed=3)
  said = set(capsys.readouterr().out.splitlines())
  limit = "within 8 tokens: max_new_tokens sets another limit"
  assert said <= {f"1 of 1 completions did not end {limit}"} | {
    f"{n} of 3 completions did not end {limit}" for n in (1, 2, 3)
  }
  (cut,) = policy.generate(["long " * 10], max_new_tokens=1)
  assert cut.prompt_cut
  assert not cut.finished
  said = capsys.readouterr().out
  assert "1 of 1 prompts are cut" in said
  assert "1 of 1 completions did not end within 1 tokens" in said
  policy.generate(["long " * 10], max_new_tokens=1, verbose=False)
  assert capsys.readouterr().out == ""


def test_prompts_are_text_or_conversations():
  turns = [{"role": "user", "content": "a"}]
  assert conversations(["x", turns, (("user", "a"),)]) == [
    "x",
    (("user", "a"),),
    (("user", "a"),),
  ]


@pytest.mark.parametrize(
  ("prompts", "sentence"),
  [
    ("Hi", "prompts is one text, 'Hi': give a list"),
    ([], "there is no prompt"),
    (["x", 3], "prompt 1 is neither text nor a conversation"),
    ([[]], "prompt 0 is neither"),
    ([[{"role": "user"}]], "prompt 0 is neither"),
  ],
)
def test_other_prompts_are_refused(prompts, sentence):
  with pytest.raises(UserError, match=sentence):
    conversations(prompts)


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
    ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ({"temperature": -1.0}, "temperature must be 0 or above"),
  ],
)
def test_options_out_of_range_are_refused(run, given, sentence):
  with pytest.raises(UserError, match=sentence):
    Policy.load(run.folder).generate(["x"], **given)


def test_what_is_no_run_is_refused(run, tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    Policy.load(tmp_path)
  with pytest.raises(UserError, match="has no checkpoint '3'"):
    Policy.load(run.folder, 3)
  (tmp_path / "run.json").write_text(json.dumps(run._about))
  with pytest.raises(UserError, match="has no complete checkpoint yet"):
    Policy.load(tmp_path)
