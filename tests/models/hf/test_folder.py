"""Model folders in and out, and what is refused."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders import rewrite, same, tensors

from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf.folder import INDEX, SINGLE, open_folder
from offalign.models.hf.read_leaves import flatten
from offalign.models.hf.tensor_files import Writer


def test_what_was_written_is_read(t5_parts, t5_folder):
  _, _, params = t5_parts
  model, found = hf.load(t5_folder)
  assert model.spec == f"hf:{t5_folder}"
  same(found, params)
  leaf = found["embedding"]["table"]
  assert leaf.devices() == {jax.devices()[0]}


def test_layout_of_the_tensors(t5_parts, t5_folder):
  _, _, params = t5_parts
  found = tensors(t5_folder)
  layers = params["decoder"]["layers"]
  np.testing.assert_array_equal(
    found["decoder.block.2.layer.1.EncDecAttention.k.weight"],
    layers["cross"]["key"]["kernel"][2].T,
  )
  np.testing.assert_array_equal(
    found["decoder.block.1.layer.2.DenseReluDense.wi_0.weight"],
    layers["mlp"]["gate"]["kernel"][1].T,
  )
  np.testing.assert_array_equal(
    found["shared.weight"], params["embedding"]["table"]
  )
  np.testing.assert_array_equal(
    found["lm_head.weight"], params["head"]["kernel"].T
  )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trips_are_exact(t5_parts, t5_folder, tmp_path, dtype):
  config, model, params = t5_parts
  first = tmp_path / "first"
  first.mkdir()
  hf.write(first, config, model, params, dtype=dtype)
  model, params = hf.load(first, dtype=dtype)
  hf.save(tmp_path / "second", model, params, source=first)
  for name in ("config.json", SINGLE):
    assert (first / name).read_bytes() == (
      tmp_path / "second" / name
    ).read_bytes()
  written = json.loads((first / "config.json").read_text())
  assert written["torch_dtype"] == dtype
  assert "dtype" not in written
  # Through float32 and back nothing is lost either.
  model, params = hf.load(first, dtype="float32")
  hf.save(tmp_path / "third", model, params, source=first, dtype=dtype)
  assert (first / SINGLE).read_bytes() == (
    tmp_path / "third" / SINGLE
  ).read_bytes()


def test_the_key_of_the_dtype_is_kept(t5_folder, tmp_path):
  file = t5_folder / "config.json"
  config = json.loads(file.read_text())
  del config["torch_dtype"]
  file.write_text(json.dumps(config | {"dtype": "float32"}))
  model, params = hf.load(t5_folder)
  hf.save(tmp_path / "out", model, params, source=t5_folder, dtype="bfloat16")
  written = json.loads((tmp_path / "out" / "config.json").read_text())
  assert written == config | {"dtype": "bfloat16"}


def test_half_precision_is_read(t5_folder):
  values = tensors(t5_folder)
  rewrite(t5_folder, values, "F16")
  _, found = hf.load(t5_folder)
  np.testing.assert_array_equal(
    found["embedding"]["table"], values["shared.weight"].astype(np.float16)
  )


@pytest.mark.parametrize("limit", [3000, 1])
def test_several_files(t5_parts, t5_folder, tmp_path, limit):
  _, model, params = t5_parts
  out = tmp_path / "out"
  hf.save(out, model, params, source=t5_folder, max_shard_size=limit)
  files = sorted(out.glob("*.safetensors"))
  index = json.loads((out / INDEX).read_text())
  assert not (out / SINGLE).exists()
  n = len(tensors(t5_folder)) if limit == 1 else len(files)
  assert [f.name for f in files] == [
    f"model-{i + 1:05}-of-{n:05}.safetensors" for i in range(n)
  ]
  total = sum(x.nbytes for x in jax.tree.leaves(params))
  assert index["metadata"]["total_size"] == total
  sizes = dict.fromkeys((f.name for f in files), 0)
  for name, tensor in open_folder(out).tensors.items():
    assert index["weight_map"][name] == tensor.file.name
    sizes[tensor.file.name] += tensor.nbytes
  largest = max(t.nbytes for t in open_folder(out).tensors.values())
  assert max(sizes.values()) <= max(limit, largest)
  same(hf.load(out)[1], params)


@pytest.mark.parametrize("mesh", [MeshConfig(8, 1), MeshConfig(2, 4)])
def test_into_the_sharded_layout(t5_parts, tmp_path, monkeypatch, mesh):
  monkeypatch.setattr("offalign.distributed.sharding.SMALL", 100)
  monkeypatch.setattr("offalign.models.hf.read_leaves._WINDOW", 200)  # bytes
  config, model, params = t5_parts
  folder = tmp_path / "tiny"
  folder.mkdir()
  hf.write(folder, config, model, params)
  mesh = sharding.make_mesh(mesh)
  _, found = hf.load(folder, mesh=mesh)
  same(found, params)
  placed = flatten(sharding.state_shardings(mesh, params))
  split = 0
  for path, leaf in flatten(found).items():
    assert leaf.sharding == placed[path]
    split += not leaf.sharding.is_fully_replicated
  # 41 tokens do not divide by 4; the width does.
  assert split >= 10 if mesh.shape["fsdp"] > 1 else split == 0


def test_only_the_shards_of_a_leaf_are_read(t5_folder, monkeypatch):
  """Each row of a split embedding is read once, whatever the devices."""
  from offalign.models.hf import tensor_files

  monkeypatch.setattr("offalign.distributed.sharding.SMALL", 100)
  read = []
  part = tensor_files.Tensor.part

  def spy(self, index):
    found = part(self, index)
    read.append(found.nbytes)
    return found

  monkeypatch.setattr(tensor_files.Tensor, "part", spy)
  mesh = sharding.make_mesh(MeshConfig(data=4, fsdp=2))
  hf.load(t5_folder, mesh=mesh)
  everything = sum(t.nbytes for t in open_folder(t5_folder).tensors.values())
  assert sum(read) == everything


def test_companions_are_copied(t5_folder, tmp_path):
  for name in ("tokenizer.json", "spiece.model", "generation_config.json"):
    (t5_folder / name).write_bytes(name.encode())
  (t5_folder / "training_args.bin").write_bytes(b"a pickle")
  model, params = hf.load(t5_folder)
  out = tmp_path / "out"
  hf.save(out, model, params, source=t5_folder)
  assert sorted(os.listdir(out)) == [
    "config.json",
    "generation_config.json",
    SINGLE,
    "spiece.model",
    "tokenizer.json",
  ]
  assert (out / "spiece.model").read_bytes() == b"spiece.model"


def test_whole_or_not_at_all(t5_folder, tmp_path, monkeypatch):
  model, params = hf.load(t5_folder)
  written = []

  def fail(self, name, *rest):
    written.append(name)
    if len(written) == 5:
      raise OSError("no space left on device")

  monkeypatch.setattr(Writer, "write", fail)
  with pytest.raises(OSError, match="no space"):
    hf.save(tmp_path / "deep" / "out", model, params, source=t5_folder)
  assert list((tmp_path / "deep").iterdir()) == []


def test_nothing_is_overwritten(t5_folder, tmp_path):
  model, params = hf.load(t5_folder)
  before = (t5_folder / SINGLE).stat()
  with pytest.raises(UserError, match="is there already; name a new folder"):
    hf.save(t5_folder, model, params, source=t5_folder)
  assert (t5_folder / SINGLE).stat() == before
  (tmp_path / "empty").mkdir()
  hf.save(tmp_path / "empty", model, params, source=t5_folder)
  same(hf.load(tmp_path / "empty")[1], params)


def test_params_of_another_model_are_not_written(t5_folder, tmp_path):
  model, params = hf.load(t5_folder)
  params["decoder"]["norm"]["scale"] = jnp.ones(7)
  with pytest.raises(UserError, match="differ in 'decoder/norm/scale'"):
    hf.save(tmp_path / "out", model, params, source=t5_folder)
  assert not (tmp_path / "out").exists()


def test_fingerprints_tell_weights_apart(t5_folder):
  first = open_folder(t5_folder).fingerprint
  assert open_folder(t5_folder).fingerprint == first
  values = tensors(t5_folder)
  rewrite(t5_folder, {k: v + 1e-6 for k, v in values.items()})
  assert open_folder(t5_folder).fingerprint != first


def test_a_tied_head_that_is_there_twice(t5_parts, tmp_path):
  config, _, params = t5_parts
  config = config | {"tie_word_embeddings": True}
  model = hf.describe(config, spec="tied", tied=True)
  tied = {k: v for k, v in params.items() if k != "head"}
  folder = tmp_path / "tied"
  folder.mkdir()
  hf.write(folder, config, model, tied)
  values = tensors(folder)
  assert "lm_head.weight" not in values
  same(hf.load(folder)[1], tied)
  values["lm_head.weight"] = values["shared.weight"]
  rewrite(folder, values)
  same(hf.load(folder)[1], tied)
  # As transformers 5 has it, a head that differs is one of its own.
  values["lm_head.weight"] = values["lm_head.weight"] + 1
  rewrite(folder, values)
  assert "head" in hf.load(folder)[1]


def test_the_dtype_is_checked(t5_folder):
  with pytest.raises(UserError, match="float32 or bfloat16, not 'float16'"):
    hf.load(t5_folder, dtype="float16")


def test_a_left_over_buffer_is_ignored(t5_folder):
  name = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  )
  values = tensors(t5_folder)
  rewrite(t5_folder, values | {name: np.ones((8, 3))})
  hf.load(t5_folder)
