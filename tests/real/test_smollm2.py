"""SmolLM2-135M-Instruct as `transformers` computes it, through a whole run.

Read, asked, trained for a step, written, read again and served.
"""

import contextlib
import socket
import threading
import time

import jax
import numpy as np
import openai
import pytest
import uvicorn

from offalign import Policy, Run
from offalign.data import Message
from offalign.distributed import sharding
from offalign.models import hf
from offalign.serving import app
from offalign.serving.completer import PolicyCompleter

torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
transformers = pytest.importorskip(
  "transformers", reason="parity needs offalign[parity]"
)
pytestmark = pytest.mark.slow

TEXTS = [
  "The capital of France is Paris, and that of Japan is",
  "def add(a, b):\n  return a + b\n",
  "Grüße aus Köln! 漢字 🙂",
]
ASKED = [
  "What is the capital of France?",
  "Name three colours.",
  "Why?",
]
NEW = 12
# Feedback of our own: answers to praise, and answers to blame.
ROWS = [
  {"prompt": "How are you?", "completion": " I am well.", "label": True},
  {"prompt": "How are you?", "completion": " Go away.", "label": False},
  {"prompt": "Is it late?", "completion": " Not yet.", "label": True},
  {"prompt": "Is it late?", "completion": " No idea, no idea.", "label": False},
]


@pytest.fixture(scope="module", autouse=True)
def _as_for_users():
  """One device, and programs compiled as they are for users."""
  whole = sharding.make_mesh

  def first_alone(config=None, devices=None):
    return whole(config, devices or jax.devices()[:1])

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, "make_mesh", first_alone)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def folder(real):
  return real("smollm2")


def read(folder):
  torch.set_num_threads(2)
  auto = transformers.AutoModelForCausalLM
  return auto.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def theirs(folder):
  return read(folder)


@pytest.fixture(scope="module")
def tokenizer(folder):
  return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def policy(folder):
  return Policy.load(folder)


def chat(text):
  return [{"role": "user", "content": text}]


def greedy(model, tokenizer, prompt):
  """What transformers answers, and the tokens of the prompt."""
  ids = tokenizer.apply_chat_template(
    chat(prompt), add_generation_prompt=True, return_tensors="pt"
  )["input_ids"]
  with torch.no_grad():
    out = model.generate(ids, do_sample=False, max_new_tokens=NEW)
  new = out[0, ids.shape[1] :].tolist()
  return ids[0].tolist(), new


def answers(policy):
  return policy.generate(
    [chat(text) for text in ASKED],
    temperature=0,
    max_new_tokens=NEW,
    verbose=False,
  )


def total_logp(model, tokenizer, row):
  """The log-prob that transformers gives a completion and its end; nats."""
  prompt, reply = tokenizer(row["prompt"]).input_ids, row["completion"]
  reply = [*tokenizer(reply).input_ids, tokenizer.eos_token_id]
  with torch.no_grad():
    logits = model(torch.tensor([prompt + reply])).logits[0]
  logps = torch.log_softmax(logits.double(), -1)[len(prompt) - 1 : -1]
  return float(logps[torch.arange(len(reply)), torch.tensor(reply)].sum())


def test_logits_are_those_of_transformers(folder, theirs, tokenizer):
  model, params = hf.load(folder)
  ids = [tokenizer(text).input_ids for text in TEXTS]
  tokens = np.zeros((len(ids), 1, max(map(len, ids))), np.int32)
  real = np.zeros_like(tokens, bool)
  for i, each in enumerate(ids):
    tokens[i, 0, : len(each)], real[i, 0, : len(each)] = each, True
  hidden = jax.jit(model.hidden)(
    params, tokens[:, 0, :1], real[:, 0, :1], tokens[..., 1:], real[..., 1:]
  )
  for i, each in enumerate(ids):
    with torch.no_grad():
      expected = theirs(torch.tensor([each])).logits[0, :-1].numpy()
    # The state before each token of the completion.
    states = hidden.completions[i, 0, : len(each) - 1]
    found = np.asarray(states @ model.unembedding(params))
    assert np.abs(expected).max() > 10
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_greedy_answers_are_those_of_transformers(policy, theirs, tokenizer):
  for text, done in zip(ASKED, answers(policy), strict=True):
    asked, new = greedy(theirs, tokenizer, text)
    ours, _ = policy.tokenizer.encode_prompts([(Message("user", text),)])
    assert ours[0].tolist() == asked
    assert done.text == tokenizer.decode(new, skip_special_tokens=True)
    assert done.tokens == len(new)
    assert done.finished == (new[-1] == tokenizer.eos_token_id)
  assert "Paris" in answers(policy)[0].text


def test_log_probs_are_those_of_transformers(policy, theirs, tokenizer):
  expected = [total_logp(theirs, tokenizer, row) for row in ROWS]
  np.testing.assert_allclose(policy.logps(ROWS), expected, atol=2e-3)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
  """One step of KTO on LoRA adapters."""
  run = Run(
    loss="kto",
    model=str(folder),
    data={"path": ROWS, "eval_fraction": 0},
    lora={"rank": 4},
    optimizer={"learning_rate": 1e-3},
    steps=1,
    batch_size=4,
    log_every=1,
    out=str(tmp_path_factory.mktemp("run") / "kto"),
  )
  return run, run.train(verbose=False)


def test_a_step_begins_at_the_reference_and_learns(trained, policy):
  run, after = trained
  # At the start every log-ratio is 0, and KTO's loss 1 - sigmoid(0).
  assert run.metrics["loss"][1].tolist() == [pytest.approx(0.5, abs=1e-5)]
  moved = after.logps(ROWS) - policy.logps(ROWS)
  good = np.array([row["label"] for row in ROWS])
  assert moved[good].mean() > moved[~good].mean() + 0.01
  assert np.abs(moved).max() < 30


def test_what_is_exported_is_what_was_trained(
  trained, tokenizer, theirs, tmp_path
):
  _, after = trained
  after.export(tmp_path / "whole")
  whole = read(tmp_path / "whole")
  expected = [total_logp(whole, tokenizer, row) for row in ROWS]
  np.testing.assert_allclose(after.logps(ROWS), expected, atol=2e-3)
  before = [total_logp(theirs, tokenizer, row) for row in ROWS]
  assert np.abs(np.subtract(before, expected)).max() > 0.01
  # The same by this library, and as adapters by peft.
  np.testing.assert_allclose(
    Policy.load(tmp_path / "whole").logps(ROWS), after.logps(ROWS), atol=1e-3
  )
  peft = pytest.importorskip("peft", reason="parity needs offalign[parity]")
  after.export(tmp_path / "adapter", adapter=True)
  both = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
  found = [total_logp(both, tokenizer, row) for row in ROWS]
  both.unload()
  np.testing.assert_allclose(found, expected, atol=2e-3)


@contextlib.contextmanager
def serving(policy):
  """The address of a server of a policy."""
  completer = PolicyCompleter(policy, max_new_tokens=NEW)
  made = app.make(completer, "smollm2")
  server = uvicorn.Server(uvicorn.Config(made, log_level="error"))
  with socket.socket() as bound:
    bound.bind(("127.0.0.1", 0))
    thread = threading.Thread(
      target=server.run, kwargs={"sockets": [bound]}, daemon=True
    )
    thread.start()
    while not server.started:
      time.sleep(0.01)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(60)


def test_what_is_streamed_and_served_is_what_is_generated(policy):
  expected = answers(policy)[0].text
  pieces = policy.stream(chat(ASKED[0]), temperature=0, max_new_tokens=NEW)
  assert "".join(piece.text for piece in pieces.pieces) == expected
  with serving(policy) as address:
    client = openai.OpenAI(base_url=address, api_key="none")
    whole = client.chat.completions.create(
      model="smollm2", messages=chat(ASKED[0]), temperature=0
    )
    streamed = client.chat.completions.create(
      model="smollm2", messages=chat(ASKED[0]), temperature=0, stream=True
    )
    texts = [each.choices[0].delta.content or "" for each in streamed]
  assert whole.choices[0].message.content == expected
  assert "".join(texts) == expected
  assert len(texts) > 1
