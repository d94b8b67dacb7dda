"""Adapters do what peft's do, and peft loads them."""

import functools

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("peft", reason="parity needs peft beside offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

import peft
import transformers

from benchmarks import parity, parity_decoders, parity_t5, parity_torch
from offalign import losses
from offalign.learner.objective import Objective
from offalign.models import hf, lora
from offalign.models.hf import peft_adapter
from offalign.models.hf.folder import read_config
from offalign.models.hf.read_leaves import flatten
from offalign.models.lora import LoraConfig

TOLERANCE = 1e-4
CASES = {
  "flan-t5": (
    "all",
    {
      "encoder/layers/mlp/gate": "encoder.block.1.layer.1.DenseReluDense.wi_0",
      "decoder/layers/cross/key": "decoder.block.1.layer.1.EncDecAttention.k",
    },
    {"q", "k", "v", "o", "wi_0", "wi_1", "wo"},
  ),
  "qwen 2": (
    "query,value,down",
    {
      "layers/query": "model.layers.1.self_attn.q_proj",
      "layers/down": "model.layers.1.mlp.down_proj",
    },
    {"q_proj", "v_proj", "down_proj"},
  ),
  "gemma 2": (
    "attention,up",
    {
      "layers/out": "model.layers.1.self_attn.o_proj",
      "layers/up": "model.layers.1.mlp.up_proj",
    },
    {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"},
  ),
  # Its maps are stored [in, out], and c_proj is the name of two of them.
  "gpt 2": (
    "up,down",
    {
      "layers/up": "transformer.h.1.mlp.c_fc",
      "layers/down": "transformer.h.1.mlp.c_proj",
    },
    {"c_fc", "mlp.c_proj"},
  ),
}


def quickly(function):
  """Compiled, in less time than `jax.jit` takes."""
  return jax.jit(
    function, compiler_options={"xla_backend_optimization_level": 0}
  )


def random_adapters(config, params):
  shapes = jax.eval_shape(
    functools.partial(lora.init, config), jax.random.key(0), params
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.normal(0, 0.15, x.shape).astype(np.float32), shapes
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_parity(name, tmp_path):
  targets, watched, ends = CASES[name]
  config = LoraConfig(rank=3, alpha=5.0, targets=targets)
  folder, alone = tmp_path / "model", tmp_path / "adapter"
  alone.mkdir()
  build = parity_t5.build if name in parity_t5.CASES else parity_decoders.build
  theirs = build(name, folder)
  model, params = hf.load(folder)
  adapters = random_adapters(config, params)
  peft_adapter.write_adapter(
    alone, read_config(folder), model, config, adapters, base=str(folder)
  )
  rows = parity.batch(model.vocab_size)
  plain = parity_torch.logits(theirs, rows)
  adapted = peft.PeftModel.from_pretrained(theirs, alone, is_trainable=True)
  adapted.eval()
  assert set(adapted.peft_config["default"].target_modules) == ends
  expected = [
    [y.detach().numpy() for y in row]
    for row in parity_torch.logits(adapted, rows)
  ]
  assert np.abs(expected[0][0] - plain[0][0].detach().numpy()).max() > 0.1

  objective = Objective(
    loss=losses.get(f"dpo(beta={parity_torch.BETA})"), model=model, value=None
  )

  @quickly
  def ours(adapters, params):
    over = objective.over(config, params)
    return over.logps(adapters, rows), over.grads(
      {"policy": adapters}, rows, {}
    )[0]["policy"]

  # Log-probs and gradients.
  logps, grads = ours(adapters, params)
  their_logps = parity_torch.logps(adapted, rows).detach().numpy()
  np.testing.assert_allclose(logps, their_logps, atol=TOLERANCE)
  names = {
    (path, which): f"base_model.model.{module}.lora_{which.upper()}.default"
    for path, module in watched.items()
    for which in "ab"
  }
  weights = tuple(f"{module}.weight" for module in names.values())
  their_grads = parity_torch.dpo(adapted, rows, weights)["policy"]
  flat = flatten(grads)
  for (path, which), weight in zip(names, weights, strict=True):
    found, wanted = flat[f"{path}/{which}"][1].T, their_grads[weight]
    np.testing.assert_allclose(
      found, wanted, atol=TOLERANCE * np.abs(wanted).max()
    )

  # Logits: beside the weights, merged into them, and merged in a folder.
  both = lora.combine(config, params, adapters)
  assert parity.logit_error(model, both, rows, expected) <= TOLERANCE
  merged = lora.merge(config, params, adapters)
  out = tmp_path / "merged"
  hf.save(out, model, merged, source=folder)
  auto = transformers.AutoModelForCausalLM
  if theirs.config.is_encoder_decoder:
    auto = transformers.AutoModelForSeq2SeqLM
  again = auto.from_pretrained(out, attn_implementation="eager").eval()
  for row, wanted in zip(
    parity_torch.logits(again, rows), expected, strict=True
  ):
    for one, other in zip(row, wanted, strict=True):
      np.testing.assert_allclose(one.detach(), other, atol=TOLERANCE)
