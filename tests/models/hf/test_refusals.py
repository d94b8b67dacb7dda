"""Model folders that are refused: every time with file and tensor."""

import json
import os

import numpy as np
import pytest
from folders import rewrite, tensors

from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf.folder import INDEX, SINGLE
from offalign.models.hf.tensor_files import DTYPES


class TestRefusals:
  """Every one names the file and the tensor."""

  def refused(self, folder, message):
    with pytest.raises(UserError, match=message):
      hf.load(folder)

  @pytest.mark.parametrize(
    ("key", "value", "why"),
    [
      ("layer_norm_epsilon", float("inf"), "must be finite"),
      ("num_layers", 10**9, "num_layers=1000000000 must be at most 10,000"),
      ("d_model", 10**12, "d_model=1000000000000 must be at most"),
    ],
  )
  def test_sizes_beyond_reason(self, t5_folder, key, value, why):
    file = t5_folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    self.refused(t5_folder, why)

  def test_a_file_name_that_no_disk_takes(self, t5_folder):
    (t5_folder / SINGLE).unlink()
    name = "x" * 5000 + ".safetensors"
    index = {"weight_map": {"shared.weight": name}}
    (t5_folder / INDEX).write_text(json.dumps(index))
    self.refused(t5_folder, "which is not the name of a safetensors file")

  def test_missing(self, t5_folder):
    values = tensors(t5_folder)
    del values["encoder.final_layer_norm.weight"]
    rewrite(t5_folder, values)
    self.refused(t5_folder, "lacks the tensor 'encoder.final_layer_norm.weight")

  def test_unexpected(self, t5_folder):
    values = tensors(t5_folder)
    rewrite(t5_folder, values | {"adapter.weight": np.ones(3)})
    self.refused(
      t5_folder, "model.safetensors has the tensor 'adapter.weight', which"
    )

  def test_another_shape(self, t5_folder):
    values = tensors(t5_folder)
    values["shared.weight"] = values["shared.weight"].T
    rewrite(t5_folder, values)
    self.refused(
      t5_folder,
      r"model.safetensors: tensor 'shared.weight' is of shape \(12, 41\); by "
      r"config.json it is \(41, 12\)",
    )

  def test_truncated(self, t5_folder):
    file = t5_folder / SINGLE
    file.write_bytes(file.read_bytes()[:-1])
    self.refused(t5_folder, "model.safetensors is truncated: tensor 'decoder")

  def test_quantised(self, t5_folder, monkeypatch):
    values = tensors(t5_folder)
    monkeypatch.setitem(DTYPES, "I8", np.dtype(np.int8))
    rewrite(t5_folder, values, "I8")
    monkeypatch.delitem(DTYPES, "I8")
    self.refused(t5_folder, "model.safetensors: tensor 'shared.weight' is I8")

  def test_a_duplicate_that_differs(self, t5_folder):
    values = tensors(t5_folder)
    copy = {"encoder.embed_tokens.weight": values["shared.weight"]}
    rewrite(t5_folder, values | copy)
    hf.load(t5_folder)
    copy["encoder.embed_tokens.weight"] = values["shared.weight"] + 1
    rewrite(t5_folder, values | copy)
    self.refused(
      t5_folder,
      "'encoder.embed_tokens.weight' differs from 'shared.weight', which",
    )

  def test_only_a_pickle(self, t5_folder):
    os.rename(t5_folder / SINGLE, t5_folder / "pytorch_model.bin")
    self.refused(
      t5_folder,
      "in pytorch_model.bin and not as safetensors.*not read.*convert it.*"
      "save_pretrained",
    )

  def test_no_weights(self, t5_folder):
    (t5_folder / SINGLE).unlink()
    self.refused(t5_folder, "tiny has no weights")

  def test_no_config(self, t5_folder):
    (t5_folder / "config.json").unlink()
    self.refused(t5_folder, "tiny is no model folder: it has no config.json")

  @pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
  def test_a_config_that_is_none(self, t5_folder, text):
    (t5_folder / "config.json").write_text(text)
    self.refused(t5_folder, "config.json (is not JSON|does not hold)")

  @pytest.mark.parametrize("name", ["mt5", "umt5", "longt5", "bert", None, 3])
  def test_other_architectures(self, t5_folder, name):
    file = t5_folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"model_type": name}))
    self.refused(t5_folder, f"config.json: model_type={name!r} is not impl")


class TestIndex:
  @pytest.fixture
  def folder(self, t5_folder, tmp_path):
    model, params = hf.load(t5_folder)
    out = tmp_path / "parts"
    hf.save(out, model, params, source=t5_folder, max_shard_size=8000)
    return out

  def change(self, folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))

  @pytest.mark.parametrize(
    "name",
    [
      "../tiny/model.safetensors",
      "/etc/passwd.safetensors",
      "a/b.safetensors",
      "..\\x.safetensors",
      ".safetensors",
      "pytorch_model.bin",
      "",
      7,
      None,
    ],
  )
  def test_paths_are_refused(self, folder, name):
    self.change(folder, lambda i: i["weight_map"].update({"x": name}))
    with pytest.raises(UserError, match=r"tensor 'x' is said to be in .*not"):
      hf.load(folder)

  @pytest.mark.parametrize("names", [None, [], {}, "x"])
  def test_an_index_without_a_map(self, folder, names):
    self.change(folder, lambda i: i.update(weight_map=names))
    with pytest.raises(UserError, match=f"{INDEX} has no 'weight_map'"):
      hf.load(folder)

  def test_a_file_that_is_missing(self, folder):
    gone = sorted(folder.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(UserError, match=f"names {gone.name}, which is not th"):
      hf.load(folder)

  def test_a_tensor_in_another_file(self, folder):
    def swap(index):
      files = sorted(set(index["weight_map"].values()))
      index["weight_map"]["shared.weight"] = files[-1]

    self.change(folder, swap)
    with pytest.raises(UserError, match=r"says that tensor 'shared.weight' is"):
      hf.load(folder)

  def test_a_tensor_that_is_not_listed(self, folder):
    self.change(folder, lambda i: i["weight_map"].pop("shared.weight"))
    with pytest.raises(UserError, match=r"holds tensor 'shared.weight', which"):
      hf.load(folder)

  def test_a_tensor_that_is_there_twice(self, folder):
    one, two = sorted(folder.glob("*.safetensors"))[:2]
    two.write_bytes(one.read_bytes())
    with pytest.raises(UserError, match=f"is both in .*{one.name} and in"):
      hf.load(folder)
