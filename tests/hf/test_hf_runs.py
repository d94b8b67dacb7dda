"""Runs that start from a model folder, and their export."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tokenizers

from offalign import export as export_lib
from offalign import start
from offalign.checkpoint import Checkpoints
from offalign.config import Config, DataConfig
from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf_folder import open_folder
from offalign.models.hf_read import flatten
from offalign.optim import OptimizerConfig
from offalign.run import Run
from offalign.sharding import MeshConfig
from offalign.value import ValueConfig

WORDS = [f"w{i}" for i in range(30)]


def write_tokenizer(folder):
  """Words, laid out as T5 does: pad 0, EOS 1 after every prompt."""
  vocab = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocab, unk_token="<unk>")
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  backend.add_special_tokens(["<pad>", "</s>", "<unk>"])
  backend.post_processor = tokenizers.processors.TemplateProcessing(
    single="$A </s>", special_tokens=[("</s>", 1)]
  )
  backend.save(str(folder / "tokenizer.json"))
  config = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "tokenizer_class": "PreTrainedTokenizerFast",
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def origin_folder(t5_parts, tmp_path_factory):
  """A small T5 v1.1 with its tokenizer."""
  folder = tmp_path_factory.mktemp("origin")
  config, model, params = t5_parts
  params = jax.tree.map(lambda x: 0.25 * x, params)
  hf.write(folder, config, model, params)
  write_tokenizer(folder)
  return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Scored completions."""
  rng = np.random.default_rng(0)
  file = tmp_path_factory.mktemp("data") / "rows.jsonl"

  def words(n):
    return " ".join(rng.choice(WORDS, n))

  rows = [
    {
      "prompt": words(5),
      "completion": words(4),
      "reward": round(float(rng.normal()), 3),
    }
    for _ in range(24)
  ]
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return file


def config(data, out, **changed):
  return Config(
    loss="dro_v",
    out=str(out),
    steps=3,
    batch_size=8,
    data=DataConfig(path=str(data), eval_fraction=0.0),
    optimizer=OptimizerConfig(learning_rate=1e-2),
    mesh=MeshConfig(data=4, fsdp=2),
    **changed,
  )


@pytest.fixture(scope="module")
def run(origin_folder, data, tmp_path_factory):
  """A run of three steps; its folder."""
  folder = tmp_path_factory.mktemp("runs") / "one"
  Run(config(data, folder, model=str(origin_folder))).train()
  return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  """What is exported from the run folder alone."""
  alone = tmp_path_factory.mktemp("moved") / "run"
  shutil.copytree(run, alone)
  out = tmp_path_factory.mktemp("exported") / "out"
  assert export_lib.export(alone, out) == 3
  return out


def rows():
  rng = np.random.default_rng(1)
  return (
    rng.integers(2, 33, (2, 6)).astype(np.int32),
    np.ones((2, 6), bool),
    rng.integers(2, 33, (2, 1, 5)).astype(np.int32),
    np.ones((2, 1, 5), bool),
  )


def logits(model, params):
  hidden = jax.jit(model.hidden)(params, *rows())
  return np.asarray(hidden.completions @ model.unembedding(params))[:, 0]


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_the_folder(run, origin_folder):
  about = json.loads((run / "run.json").read_text())
  assert about["model"] == f"hf:{origin_folder}"
  assert about["vocab_size"] == 41
  fingerprint = open_folder(origin_folder).fingerprint
  assert about["start"] == f"{origin_folder}, weights {fingerprint}"
  kept = json.loads((run / "model" / "origin.json").read_text())
  assert kept == {
    "name": str(origin_folder),
    "fingerprint": fingerprint,
    "tied": False,
  }
  reference = np.load(run / "reference.npz")
  assert str(reference["identity"]) == about["start"]


@pytest.mark.slow
def test_an_export_is_the_policy_of_the_newest_checkpoint(
  run, exported, origin_folder
):
  model, params = hf.load(exported)
  about = start.read_about(run)
  kept = start.restore(run, start.model_of(run, about), _one_device())
  flat, expected = flatten(params), flatten(kept)
  first = flatten(hf.load(origin_folder)[1])
  assert flat.keys() == expected.keys()
  for path in flat:
    np.testing.assert_array_equal(flat[path], expected[path])
    assert not np.array_equal(flat[path], first[path])
  assert np.isfinite(logits(model, params)).all()
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert (exported / name).read_bytes() == (origin_folder / name).read_bytes()
  assert not (exported / "origin.json").exists()


def _one_device():
  from offalign import sharding

  return sharding.one_device()


@pytest.mark.slow
def test_transformers_reads_an_export(exported):
  torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
  transformers = pytest.importorskip(
    "transformers", reason="parity needs offalign[parity]"
  )
  theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(exported)
  prompts, mask, completions, _ = (
    torch.tensor(x.astype(np.int64)) for x in rows()
  )
  with torch.no_grad():
    out = theirs.eval()(
      input_ids=prompts, attention_mask=mask, labels=completions[:, 0]
    )
  ours = logits(*hf.load(exported))
  np.testing.assert_allclose(
    jax.nn.log_softmax(ours), torch.log_softmax(out.logits, -1), atol=1e-4
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
  assert tokenizer("w3 w5").input_ids == [6, 8, 1]


@pytest.mark.slow
def test_a_run_starts_from_a_run(run, data, tmp_path):
  out = tmp_path / "child"
  child = Run(
    dataclasses.replace(
      config(data, out, init=str(run), value=ValueConfig(network="shared")),
      steps=1,
    )
  )
  policy = flatten(child._first)
  about = start.read_about(run)
  kept = flatten(start.restore(run, start.model_of(run, about), _one_device()))
  for path in policy:
    np.testing.assert_array_equal(policy[path], kept[path])
  child.train()
  export_lib.export(out, tmp_path / "out", dtype="bfloat16")
  written = json.loads((tmp_path / "out" / "config.json").read_text())
  assert written["torch_dtype"] == "bfloat16"
  assert written["architectures"] == ["T5ForConditionalGeneration"]
  model, params = hf.load(tmp_path / "out")
  assert np.isfinite(logits(model, params)).all()


@pytest.mark.slow
def test_other_weights_behind_the_same_name_are_noticed(
  run, data, origin_folder, tmp_path
):
  moved = tmp_path / "origin"
  shutil.copytree(origin_folder, moved)
  out = tmp_path / "run"
  shutil.copytree(run, out)
  about = json.loads((out / "run.json").read_text())
  swapped = json.dumps(about).replace(str(origin_folder), str(moved))
  swapped = json.loads(swapped)
  swapped["config"]["out"] = str(out)
  (out / "run.json").write_text(json.dumps(swapped))
  Run(config(data, out, model=str(moved)))
  file = moved / "model.safetensors"
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  with pytest.raises(UserError, match="begun with another start"):
    Run(config(data, out, model=str(moved)))


def test_a_tokenizer_with_more_tokens_than_the_model(
  origin_folder, data, tmp_path
):
  with pytest.raises(UserError, match="vocabulary of 41 tokens, the tokeni"):
    Run(
      config(data, tmp_path / "run", model=str(origin_folder), tokenizer="byte")
    )


def test_a_model_beside_init_is_refused(run, data, tmp_path):
  with pytest.raises(UserError, match=r"--cfg.model=/no/where is set beside"):
    Run(config(data, tmp_path / "x", init=str(run), model="/no/where"))


LLAMA = {
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 300,
  "hidden_act": "silu",
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0,
  "tie_word_embeddings": False,
  "torch_dtype": "bfloat16",
}


class TestUntrained:
  def untrained(self, data, folder, model):
    """A run folder with a checkpoint of step 0."""
    run = Run(config(data, folder, model=model, tokenizer="byte"))
    with Checkpoints(folder) as checkpoints:
      checkpoints.save(run.learner.init(run._first), run._about)
    (folder / "run.json").write_text(json.dumps(run._about))

  @pytest.mark.slow
  def test_a_t5_spec_is_a_t5(self, data, tmp_path):
    self.untrained(data, tmp_path / "run", "t5(width=16, heads=2, head_dim=6)")
    export_lib.export(tmp_path / "run", tmp_path / "out")
    model, params = hf.load(tmp_path / "out")
    assert model.vocab_size == start.read_about(tmp_path / "run")["vocab_size"]
    transformers = pytest.importorskip(
      "transformers", reason="parity needs offalign[parity]"
    )
    import torch

    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(
      tmp_path / "out"
    )
    prompts, mask, completions, _ = (
      torch.tensor(x.astype(np.int64)) for x in rows()
    )
    with torch.no_grad():
      expected = theirs.eval()(
        input_ids=prompts, attention_mask=mask, labels=completions[:, 0]
      ).logits
    np.testing.assert_allclose(logits(model, params), expected, atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer("a b").input_ids).endswith("a b")

  @pytest.mark.slow
  def test_decoders_and_another_tokenizer(self, data, tmp_path):
    origin_folder = tmp_path / "llama"
    origin_folder.mkdir()
    model = hf.describe(LLAMA, spec="llama", tied=False)
    params = jax.jit(model.init)(jax.random.key(0))
    hf.write(origin_folder, LLAMA, model, params, dtype="bfloat16")
    write_tokenizer(origin_folder)
    self.untrained(data, tmp_path / "run", str(origin_folder))
    export_lib.export(tmp_path / "run", tmp_path / "out", dtype="bfloat16")
    assert (origin_folder / "model.safetensors").read_bytes() == (
      tmp_path / "out" / "model.safetensors"
    ).read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == LLAMA
    # The run's tokenizer is exported, not the one beside the model.
    exported = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    used = tmp_path / "run" / "tokenizer" / "tokenizer.json"
    assert exported == json.loads(used.read_text())

  def test_a_decoder_spec_is_none_of_theirs(self, tmp_path):
    about = {"model": "decoder(width=8)", "vocab_size": 20}
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"decoder.width=8., which is none of"):
      export_lib.export(tmp_path, tmp_path / "out")


def test_no_run(tmp_path):
  with pytest.raises(UserError, match=r"is not a run folder: it has no run.js"):
    export_lib.export(tmp_path, tmp_path / "out")


def test_no_checkpoint(origin_folder, tmp_path):
  (tmp_path / "model").mkdir()
  shutil.copy(origin_folder / "config.json", tmp_path / "model")
  about = {"model": "hf:x", "vocab_size": 41}
  (tmp_path / "run.json").write_text(json.dumps(about))
  with pytest.raises(UserError, match="has no complete checkpoint yet"):
    export_lib.export(tmp_path, tmp_path / "out")
  assert not (tmp_path / "out").exists()
