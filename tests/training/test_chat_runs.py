"""Runs on conversations from a model folder with a chat template."""

import json

import chat_cases
import jax
import pytest
import runs

from offalign.data import Tokenizer
from offalign.models import hf
from offalign.policy.policy import Policy
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("one_device")

LLAMA = {
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 420,
  "hidden_act": "silu",
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "num_key_value_heads": 1,
  "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0,
  "tie_word_embeddings": False,
  "torch_dtype": "float32",
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
  """A small Llama with its tokenizer and templates."""
  folder = chat_cases.write(tmp_path_factory.mktemp("origin"), chat_cases.LLAMA)
  more = folder / "additional_chat_templates"
  more.mkdir()
  (more / "tool_use.jinja").write_text("{{ tools }}")
  model = hf.describe(LLAMA, spec="llama", tied=False)
  hf.write(folder, LLAMA, model, jax.jit(model.init)(jax.random.key(0)))
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
