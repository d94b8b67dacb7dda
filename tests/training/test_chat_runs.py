"""Runs on conversations from a model folder with a chat template."""

import json

import chat_cases
import jax
import pytest
import runs
import talkers

from offalign.data import Tokenizer
from offalign.models import hf
from offalign.policy.policy import Policy
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
  """A small Llama with its tokenizer and templates."""
  folder = talkers.write(tmp_path_factory.mktemp("origin"))
  more = folder / "additional_chat_templates"
  more.mkdir()
  (more / "tool_use.jinja").write_text("{{ tools }}")
  return folder


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
  """Scored replies to conversations, one of them of white space."""
  rows = [
    {
      "prompt": chat_cases.dicts([*turns, ("user", f"and {i}?")]),
      "completion": [{"role": "assistant", "content": f"{reply} {k}"}],
      "reward": k,
    }
    for i in range(6)
    for turns, reply in [*chat_cases.TALKS[:1], *chat_cases.TALKS[3:]]
    for k in range(2)
  ]
  rows[3]["completion"][0]["content"] = " \n"
  return runs.write(tmp_path_factory.mktemp("data") / "talks.jsonl", rows)


def options(origin, tmp_path, **more):
  return {
    "model": str(origin),
    "tokenizer": None,
    "loss": "dpo",
    "batch_size": 4,
    "data.vanished": "drop",
    "data.cache": str(tmp_path / "cache"),
    "data.max_prompt": 64,
    **more,
  }


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_from_conversations_to_a_model_folder(origin, talks, tmp_path):
  given = runs.flags(talks, tmp_path / "run", **options(origin, tmp_path))
  child = runs.command(*runs.as_args(given))
  said, errors = child.communicate(timeout=300)
  assert child.returncode == 0, errors
  assert "with a completion of whose text no token is left (" in said
  assert f"{talks}:3): dropped" in said
  assert "fork" not in errors

  # The same flags in this process: the tokens are those of the first run.
  again = Run(runs.config(talks, tmp_path / "run", **options(origin, tmp_path)))
  assert sum("tokens read from" in s for s in again.inputs.sentences) == 2
  about = json.loads((tmp_path / "run" / "run.json").read_text())
  assert again.inputs.fingerprint == about["data"]
  prompt = again.inputs.train.prompts[0].tolist()
  backend = again.inputs.tokenizer._backend
  text = backend.decode(prompt, skip_special_tokens=False)
  assert text.startswith("<s><|start_header_id|>")
  assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")

  out = tmp_path / "out"
  policy = Policy.load(tmp_path / "run")
  assert policy.step == 4
  policy.export(out)
  for name in (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
  ):
    assert (out / name).read_bytes() == (origin / name).read_bytes()
  exported = Tokenizer.load(out)
  assert exported.fingerprint == Tokenizer.load(origin).fingerprint
  transformers = pytest.importorskip(
    "transformers", reason="parity needs offalign[parity]"
  )
  theirs = transformers.AutoTokenizer.from_pretrained(out)
  turns = chat_cases.TALKS[0][0]
  (ours,), _ = exported.encode_prompts([chat_cases.messages(turns)])
  assert ours.tolist() == theirs.apply_chat_template(
    chat_cases.dicts(turns), add_generation_prompt=True, return_dict=False
  )


def test_vanished_replies_stop_a_run(origin, talks, tmp_path):
  given = options(origin, tmp_path) | {"data.vanished": None}
  said = runs.refused(talks, tmp_path / "run", **given)
  assert f"({talks}:3)" in said
  assert "drop such rows (--cfg.data.vanished=drop)" in said


def test_a_template_that_refuses_a_conversation(origin, talks, tmp_path):
  (folder := tmp_path / "gemma").mkdir()
  chat_cases.write(folder, chat_cases.GEMMA)
  given = options(origin, tmp_path, tokenizer=str(folder))
  said = runs.refused(talks, tmp_path / "run", **given)
  assert said.startswith(f"{talks}:")
  assert "fails on a conversation of" in said


def test_conversations_without_a_template(origin, talks, tmp_path):
  chat_cases.write(tmp_path / "plain")
  given = options(origin, tmp_path, tokenizer=str(tmp_path / "plain"))
  said = runs.refused(talks, tmp_path / "run", **given)
  assert "no chat template for them; put a chat_template.jinja beside" in said


def test_plain_text_on_a_chat_model_is_said_once(origin, tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  run = Run(runs.config(log, tmp_path / "run", **options(origin, tmp_path)))
  notes = [s for s in run.inputs.sentences if "has a chat template, but" in s]
  assert len(notes) == 1


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
  """A small Llama whose template has tools, thoughts and a variable."""
  folder = chat_cases.write(
    tmp_path_factory.mktemp("thinker"),
    chat_cases.THINKING,
    added=chat_cases.THINKING_TOKENS,
  )
  config = {**talkers.LLAMA, "vocab_size": 424}
  model = hf.describe(config, spec="llama", tied=False)
  hf.write(folder, config, model, jax.jit(model.init)(jax.random.key(0)))
  return folder


def prompt_text(run):
  backend = run.inputs.tokenizer._backend
  prompt = run.inputs.train.prompts[0].tolist()
  return backend.decode(prompt, skip_special_tokens=False)


def test_template_variables_are_the_runs(thinker, talks, tmp_path):
  given = options(thinker, tmp_path, steps=1) | {
    "data.template_vars": "enable_thinking=false"
  }
  run = Run(runs.config(talks, tmp_path / "run", **given))
  block = "<think>\n\n</think>\n\n"
  assert prompt_text(run).endswith(f"assistant\n{block}")
  run.train()
  about = json.loads((tmp_path / "run" / "run.json").read_text())
  assert about["config"]["data.template_vars"] == "enable_thinking=false"
  policy = Policy.load(tmp_path / "run")
  prompt = chat_cases.messages(chat_cases.TALKS[0][0])
  (ids,), _ = policy.tokenizer.encode_prompts([prompt])
  text = policy.tokenizer._backend.decode(
    ids.tolist(), skip_special_tokens=False
  )
  assert text.endswith(block)
  policy.export(tmp_path / "out")
  (exported,), _ = Tokenizer.load(tmp_path / "out").encode_prompts([prompt])
  assert exported.tolist() == ids.tolist()
  # The same flags go on with the run; a run that begins there has them too.
  again = Run(runs.config(talks, tmp_path / "run", **given))
  assert again.inputs.fingerprint == about["data"]
  given |= {"data.template_vars": None, "model": None}
  given["init"] = str(tmp_path / "run")
  child = Run(runs.config(talks, tmp_path / "child", **given))
  assert prompt_text(child).endswith(block)


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    (
      "enable_thought=1",
      "no variable 'enable_thought'; did you mean 'enable_think",
    ),
    ("enable_thinking", "it cannot be read at 'enable_thinking'; write name="),
    ("messages=[]", "has no variable 'messages'"),
  ],
)
def test_variables_that_are_refused(thinker, talks, tmp_path, text, sentence):
  given = options(thinker, tmp_path) | {"data.template_vars": text}
  said = runs.refused(talks, tmp_path / "run", **given)
  assert said.startswith("--cfg.data.template_vars")
  assert sentence in said


def test_variables_that_nothing_would_read(thinker, tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  given = options(thinker, tmp_path) | {"data.template_vars": "x=1"}
  assert "--cfg.data.template_vars is set, but the data has no conv" in (
    runs.refused(log, tmp_path / "run", **given)
  )
  rows = [{"messages": [chat_cases.user(str(i)), chat_cases.reply("a")]}
          for i in range(20)]  # fmt: skip
  talks = runs.write(tmp_path / "talks.jsonl", rows)
  given = {"loss": "sft", "data.template_vars": "x=1"}
  assert "but the tokenizer has no chat template to read it" in (
    runs.refused(talks, tmp_path / "run", **given)
  )


def test_all_turns_of_one_turn_are_the_last(tmp_path):
  rows = [
    {"messages": [chat_cases.user(str(i)), chat_cases.reply(f"a{i}")]}
    for i in range(20)
  ]
  log = runs.write(tmp_path / "talks.jsonl", rows)
  found = []
  for turns in (None, "last", "all"):
    out = tmp_path / str(turns)
    runs.train(log, out, loss="sft", data__train_on=turns)
    found.append(runs.metrics(out))
  assert found[0] == found[1] == found[2]


def test_all_turns_train_like_rows_of_their_own(tmp_path):
  talks = [
    [
      ("user", f"u{i}"),
      ("assistant", f"a{i}"),
      ("user", f"v{i}"),
      ("assistant", f"b{i}"),
    ]
    for i in range(8)
  ]
  rows = [{"messages": chat_cases.dicts(talk)} for talk in talks]
  apart = [
    {"messages": chat_cases.dicts(talk[:n])} for talk in talks for n in (2, 4)
  ]
  given = {"loss": "sft", "data__eval_fraction": 0, "data__max_prompt": 32}
  one = runs.write(tmp_path / "one.jsonl", rows)
  two = runs.write(tmp_path / "two.jsonl", apart)
  runs.train(one, tmp_path / "a", data__train_on="all", **given)
  runs.train(two, tmp_path / "b", **given)
  assert runs.metrics(tmp_path / "a") == runs.metrics(tmp_path / "b")


def test_a_conversation_is_on_one_side_of_the_split(tmp_path):
  talk = [("user", "u"), ("assistant", "a"), ("user", "{}"), ("assistant", "b")]
  rows = [
    {"messages": chat_cases.dicts([(r, c.format(i)) for r, c in talk])}
    for i in range(20)
  ]
  log = runs.write(tmp_path / "talks.jsonl", rows)
  run = Run(runs.config(log, tmp_path / "r", loss="sft", data__train_on="all"))
  train = {place for row in run.inputs.train.sources for place in row}
  held = {place for row in run.inputs.held_out.sources for place in row}
  assert not train & held
  assert (len(run.inputs.train), len(run.inputs.held_out)) == (30, 10)


@pytest.mark.parametrize("loss", ["kto", "dpo"])
def test_losses_that_read_feedback_train_on_the_last_turn(loss, tmp_path):
  rows = [
    {
      "messages": [chat_cases.user(str(i)), chat_cases.reply("a")],
      "label": i % 2 == 0,
    }
    for i in range(20)
  ]
  log = runs.write(tmp_path / "talks.jsonl", rows)
  said = runs.refused(log, tmp_path / "r", loss=loss, data__train_on="all")
  assert "--cfg.data.train_on=all, but this loss reads feedback" in said
