"""Runs with LoRA: what they keep, go on from, hand on and export."""

import dataclasses
import json
import shutil

import chex
import jax
import numpy as np
import pytest
import runs
from absl import flags
from folders import same
from hf_world import config, write_tokenizer

from offalign.config import Config
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.models import hf, lora
from offalign.models.hf import peft_adapter
from offalign.models.hf.read_leaves import flatten
from offalign.models.hf.tensor_files import read_header
from offalign.models.lora import LoraConfig
from offalign.policy import adapters as adapted
from offalign.policy import export
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.policy import Policy
from offalign.programs import flags as flags_lib
from offalign.training.run import Run

LORA = LoraConfig(rank=2, alpha=3.0, targets="query,value,down")
GPT2 = {
  "architectures": ["GPT2LMHeadModel"],
  "model_type": "gpt2",
  "vocab_size": 41,
  "n_embd": 8,
  "n_layer": 2,
  "n_head": 2,
  "n_positions": 16,
  "activation_function": "gelu_new",
}
PHI3 = {
  "architectures": ["Phi3ForCausalLM"],
  "model_type": "phi3",
  "vocab_size": 41,
  "hidden_size": 8,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "num_key_value_heads": 1,
  "intermediate_size": 16,
  "max_position_embeddings": 16,
  "hidden_act": "silu",
}


@pytest.fixture(scope="module")
def origin_folder(t5_parts, tmp_path_factory):
  """A small T5 v1.1 with its tokenizer."""
  folder = tmp_path_factory.mktemp("origin")
  raw, model, params = t5_parts
  hf.write(folder, raw, model, jax.tree.map(lambda x: 0.25 * x, params))
  write_tokenizer(folder)
  return folder


def lora_config(scored, out, origin_folder, **changed):
  return config(scored, out, model=str(origin_folder), lora=LORA, **changed)


def state_of(run):
  with Checkpoints(run.folder) as checkpoints:
    _, first = hf.load(run.config.model, mesh=run.learner.mesh)
    template = run.learner.init(first)
    return jax.device_get(checkpoints.restore(template))


@pytest.fixture(scope="module")
def run(origin_folder, scored, tmp_path_factory):
  """A run of three steps."""
  folder = tmp_path_factory.mktemp("runs") / "one"
  run = Run(lora_config(scored, folder, origin_folder))
  run.train()
  return run


@pytest.fixture(scope="module")
def merged(run, origin_folder):
  """The policy at its end: the folder's weights and the run's adapters."""
  model, params = hf.load(origin_folder)
  mesh = sharding.one_device()
  adapters = adapted.restore(run.folder, model, LORA, mesh)
  whole = jax.jit(lambda p, a: lora.merge(LORA, p, a))(params, adapters)
  changed = {
    path
    for path, leaf in flatten(whole).items()
    if not np.array_equal(leaf, flatten(params)[path])
  }
  assert changed == {
    path
    for path in flatten(params)
    if path.split("/")[-2] in ("query", "value", "down")
  }
  return whole


@pytest.mark.slow
def test_a_checkpoint_holds_adapters_and_a_head(run, origin_folder):
  state = state_of(run)
  held = {path.rsplit("/", 1)[-1] for path in flatten({"policy": state.params})}
  assert held == {"a", "b", "kernel", "bias"}
  weights = sum(
    t.nbytes for t in read_header(origin_folder / "model.safetensors").values()
  )
  assert sum(x.nbytes for x in jax.tree.leaves(state)) < weights


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_a_run_that_stopped_goes_on_exactly(
  run, scored, origin_folder, tmp_path
):
  given = lora_config(scored, tmp_path / "half", origin_folder)
  Run(dataclasses.replace(given, steps=1)).train()
  resumed = Run(given)
  resumed.train()
  chex.assert_trees_all_equal(state_of(resumed), state_of(run))


@pytest.mark.slow
def test_an_export_is_merged(run, merged, tmp_path):
  policy = Policy.load(run.folder)
  assert policy.step == 3
  policy.export(tmp_path / "out")
  same(hf.load(tmp_path / "out")[1], merged)


@pytest.mark.slow
def test_an_adapter_is_exported_without_the_weights(
  run, origin_folder, tmp_path
):
  alone = tmp_path / "run"
  shutil.copytree(run.folder, alone)
  moved = origin_folder.rename(origin_folder.with_name("moved"))
  try:
    Policy.load(alone).export(tmp_path / "out", adapter=True)
    sentence = "adapters alone, for .*origin.*, weights .*: .* is no model f"
    with pytest.raises(UserError, match=sentence):
      Policy.load(alone).export(tmp_path / "merged")
  finally:
    moved.rename(origin_folder)
  about = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
  assert (about["r"], about["lora_alpha"]) == (2, 3.0)
  assert about["target_modules"] == ["q", "v", "wo"]
  assert about["task_type"] == "SEQ_2_SEQ_LM"
  assert about["base_model_name_or_path"] == str(origin_folder)
  found = read_header(tmp_path / "out" / "adapter_model.safetensors")
  name = "base_model.model.decoder.block.2.layer.2.DenseReluDense.wo"
  assert found[f"{name}.lora_A.weight"].shape == (2, 20)
  assert found[f"{name}.lora_B.weight"].shape == (12, 2)
  assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.slow
def test_other_weights_than_before_are_noticed(
  run, origin_folder, t5_parts, tmp_path
):
  raw, model, params = t5_parts
  kept = origin_folder.rename(origin_folder.with_name("kept"))
  try:
    origin_folder.mkdir()
    hf.write(origin_folder, raw, model, params)
    with pytest.raises(UserError, match=r"there is .*; put back what was"):
      Policy.load(run.folder).export(tmp_path / "out")
  finally:
    shutil.rmtree(origin_folder)
    kept.rename(origin_folder)


@pytest.mark.slow
def test_a_run_starts_from_the_merged_policy(run, merged, scored, tmp_path):
  child = Run(config(scored, tmp_path / "child", init=str(run.folder)))
  same(child._first, merged)
  half = Run(
    config(
      scored,
      tmp_path / "half",
      init=str(run.folder),
      lora=LORA,
      compute_dtype="bfloat16",
    )
  )
  assert half._identity == child._identity
  expected = jax.tree.map(lambda x: x.astype("bfloat16"), merged)
  same(half._first, expected)


def test_flags(origin_folder, scored, tmp_path):
  values = flags.FlagValues()
  flags_lib.define(Config, values=values)
  values(["train", "--cfg.lora.rank=4", "--cfg.lora.targets=query,out"])
  assert flags_lib.read(Config, values=values).lora == LoraConfig(
    rank=4, targets="query,out"
  )
  wrong = dataclasses.replace(LORA, targets="quary")
  given = lora_config(scored, tmp_path / "run", origin_folder)
  with pytest.raises(UserError) as error:
    Run(dataclasses.replace(given, lora=wrong))
  said = runs.in_flags(error.value)
  assert said.startswith("--cfg.lora.targets has 'quary'")


def test_a_run_of_whole_weights_has_no_adapter(t5_folder, tmp_path):
  about = {"model": "hf:x", "config": {"lora": None}}
  with pytest.raises(UserError, match="trained all weights, so it has no ad"):
    export._write_adapter(tmp_path, t5_folder, about, {}, None, "float32", 1)


def test_an_adapter_of_a_run_is_refused(t5_folder, tmp_path):
  known = {f"lora.{k}": v for k, v in dataclasses.asdict(LORA).items()}
  about = {"model": "hf:x", "config": {**known, "init": "runs/sft"}}
  with pytest.raises(UserError, match="export that run first and train with"):
    export._write_adapter(tmp_path, t5_folder, about, {}, None, "float32", 1)


@pytest.mark.parametrize(
  ("raw", "shared", "alone", "modules"),
  [
    (GPT2, "h.0.attn.c_attn", "out,up,down", ["attn.c_proj"]),
    (PHI3, "layers.0.self_attn.qkv_proj", "out,down", ["o_proj"]),
  ],
)
def test_maps_that_share_a_tensor_are_refused(
  tmp_path, raw, shared, alone, modules
):
  model = hf.describe(raw, spec="x", tied=raw is GPT2)

  def write(targets):
    config = LoraConfig(rank=2, targets=targets)
    adapters = jax.tree.map(
      lambda x: np.zeros(x.shape),
      jax.eval_shape(
        lambda: lora.init(config, jax.random.key(0), hf.shapes_of(model))
      ),
    )
    peft_adapter.write_adapter(tmp_path, raw, model, config, adapters, base="x")

  with pytest.raises(UserError) as error:
    write("query")
  said = runs.in_flags(error.value)
  assert f"{shared}.weight of this model" in said
  cure = said.rpartition("--cfg.lora.targets=")[2]
  assert sorted(cure.split(",")) == sorted(alone.split(","))
  write(cure)
  (tmp_path / peft_adapter.ADAPTER).unlink()
  write("out")
  about = json.loads((tmp_path / "adapter_config.json").read_text())
  assert about["target_modules"] == modules
  assert about["fan_in_fan_out"] is (raw is GPT2)
