"""Exports of runs that were not trained: own models, decoders, refusals."""

import json
import shutil

import jax
import numpy as np
import pytest
import runs
import tiny_folders
from hf_world import config, logits, rows, write_tokenizer

from offalign.errors import UserError
from offalign.models import hf
from offalign.policy import start
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.folder import read_about
from offalign.policy.policy import Policy
from offalign.training.run import Run

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


OWN = [
  ("decoder(width=16, layers=2, heads=2)", "byte"),
  ("decoder(width=16, layers=1, heads=4, tied=True)", "bpe"),
  ("t5(width=16, layers=1, heads=2, head_dim=8)", "bpe"),
  ("t5(width=16, layers=1, decoder_layers=2, tied=True, scaled=True)", "byte"),
]


def recorded(**about):
  """A run.json with all that one holds."""
  rest = dict.fromkeys(("tokenizer", "start", "data"), "")
  return {"config": {"init": None, "model": None, "seed": 0}, **rest, **about}


class TestUntrained:
  def untrained(self, scored, folder, model):
    """A run folder with a checkpoint of step 0."""
    run = Run(config(scored, folder, model=model, tokenizer="byte"))
    with Checkpoints(folder, keep=1) as checkpoints:
      checkpoints.save(run.learner.init(run._first), run._about)
    start.keep(run.config, None, run._first)
    run.inputs.tokenizer.save(folder / "tokenizer")
    (folder / "run.json").write_text(json.dumps(run._about))

  @pytest.mark.slow
  def test_a_t5_spec_is_a_t5(self, scored, tmp_path):
    self.untrained(
      scored, tmp_path / "run", "t5(width=16, heads=2, head_dim=6)"
    )
    Policy.load(tmp_path / "run").export(tmp_path / "out")
    model, params = hf.load(tmp_path / "out")
    assert model.vocab_size == read_about(tmp_path / "run")["vocab_size"]
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
  def test_decoders_and_another_tokenizer(self, scored, tmp_path):
    origin_folder = tmp_path / "llama"
    origin_folder.mkdir()
    model = hf.describe(LLAMA, spec="llama", tied=False)
    params = jax.jit(model.init)(jax.random.key(0))
    hf.write(origin_folder, LLAMA, model, params, dtype="bfloat16")
    write_tokenizer(origin_folder)
    self.untrained(scored, tmp_path / "run", str(origin_folder))
    Policy.load(tmp_path / "run").export(tmp_path / "out", dtype="bfloat16")
    assert (origin_folder / "model.safetensors").read_bytes() == (
      tmp_path / "out" / "model.safetensors"
    ).read_bytes()
    # The ids are those of the run's tokenizer.
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    out = tmp_path / "out"
    assert json.loads((out / "config.json").read_text()) == LLAMA | ids
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation == ids
    # The run's tokenizer is exported, not the one beside the model.
    exported = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    used = tmp_path / "run" / "tokenizer" / "tokenizer.json"
    assert exported == json.loads(used.read_text())

  @pytest.mark.slow
  @pytest.mark.parametrize(("model", "tokenizer"), OWN)
  def test_own_models_go_on_in_transformers(self, tmp_path, model, tokenizer):
    """The same tokens of a text, the same answer, and the same again here."""
    transformers = pytest.importorskip(
      "transformers", reason="parity needs offalign[parity]"
    )
    import torch

    log = runs.write_log(tmp_path / "log.jsonl")
    run = Run(
      runs.config(
        log,
        tmp_path / "run",
        model=model,
        tokenizer=tokenizer,
        tokenizer_vocab=280 if tokenizer == "bpe" else None,
      )
    )
    tiny_folders.keep_untrained(run)
    policy, out = Policy.load(run.folder), tmp_path / "out"
    policy.export(out)
    auto = transformers.AutoModelForCausalLM
    if model.startswith("t5"):
      auto = transformers.AutoModelForSeq2SeqLM
    theirs = auto.from_pretrained(out).eval()
    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    asked = ["is 3 a number?", "é 漢  a?\n"]
    options = {"temperature": 0, "max_new_tokens": 6, "verbose": False}
    done = policy.generate(asked, **options)
    for text, ours in zip(asked, done, strict=True):
      ids = policy.tokenizer.encode_prompts([text])[0][0].tolist()
      assert theirs_tokenizer(text).input_ids == ids
      with torch.no_grad():
        # Its cache takes a T5's decoder to be as deep as the encoder.
        found = theirs.generate(
          torch.tensor([ids]),
          do_sample=False,
          max_new_tokens=6,
          use_cache=False,
        )[0].tolist()
      new = found[1:] if model.startswith("t5") else found[len(ids) :]
      said = theirs_tokenizer.decode(new, skip_special_tokens=True)
      assert said == ours.text
      assert len(new) == ours.tokens
    again = Policy.load(out).generate(asked, **options)
    assert [x.text for x in again] == [x.text for x in done]

  @pytest.mark.parametrize(
    ("model", "said"),
    [
      ("decoder(prefix_lm=True)", r"trained decoder.prefix_lm=True.: no decod"),
      ("t5(tied=True)", r"trained t5.tied=True.: no T5 of Hugging Face's has "),
    ],
  )
  def test_what_they_cannot_compute_is_refused(self, tmp_path, model, said):
    about = recorded(model=model, vocab_size=20)
    policy = Policy(tmp_path, about, step=0)
    with pytest.raises(UserError, match=said):
      policy.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_run(tmp_path):
  with pytest.raises(UserError, match=r"is not a run folder: it has no run.js"):
    Policy.load(tmp_path).export(tmp_path / "out")


def test_no_checkpoint(t5_folder, tmp_path):
  (tmp_path / "model").mkdir()
  shutil.copy(t5_folder / "config.json", tmp_path / "model")
  about = recorded(model="hf:x", vocab_size=41)
  (tmp_path / "run.json").write_text(json.dumps(about))
  with pytest.raises(UserError, match="has no complete checkpoint yet"):
    Policy.load(tmp_path).export(tmp_path / "out")
  assert not (tmp_path / "out").exists()
