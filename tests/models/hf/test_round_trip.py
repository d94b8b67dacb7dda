"""What transformers wrote, read and written again, is the same."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
transformers = pytest.importorskip(
  "transformers", reason="parity needs offalign[parity]"
)

from benchmarks import parity_decoders, parity_t5  # noqa: E402
from offalign.models import hf  # noqa: E402
from offalign.models.hf.folder import SINGLE, open_folder  # noqa: E402
from offalign.models.hf.read_leaves import flatten  # noqa: E402
from offalign.models.hf.tensor_files import Writer  # noqa: E402

CASES = {
  name: module.build
  for module in (parity_t5, parity_decoders)
  for name in module.CASES
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
  made = {}

  def get(name):
    if name not in made:
      folder = tmp_path_factory.mktemp("theirs")
      made[name] = folder, CASES[name](name, folder)
    return made[name]

  return get


def tensors(folder):
  return {
    name: (tensor.dtype, tensor.part((slice(None),) * len(tensor.shape)))
    for name, tensor in open_folder(folder).tensors.items()
  }


@pytest.mark.parametrize("name", list(CASES))
def test_round_trip(case, tmp_path, name):
  folder, theirs = case(name)
  model, params = hf.load(folder)
  out = tmp_path / "ours"
  hf.save(out, model, params, source=folder, max_shard_size=20_000)
  before, after = tensors(folder), tensors(out)
  assert before.keys() == after.keys()
  for tensor, (dtype, values) in before.items():
    assert after[tensor][0] == dtype
    np.testing.assert_array_equal(after[tensor][1], values)
  old, new = (
    json.loads((path / "config.json").read_text()) for path in (folder, out)
  )
  assert old == new
  again = type(theirs).from_pretrained(out)
  state = again.state_dict()
  for weight, values in theirs.state_dict().items():
    assert torch.equal(state[weight], values), weight


@pytest.mark.parametrize("name", ["t5 v1.1", "gpt 2"])
def test_transformers_computes_the_same(case, tmp_path, name):
  folder, theirs = case(name)
  model, params = hf.load(folder)
  hf.save(tmp_path / "ours", model, params, source=folder)
  again = type(theirs).from_pretrained(
    tmp_path / "ours", attn_implementation=theirs.config._attn_implementation
  )
  again.eval()
  ids = torch.arange(2, 12)[None]
  more = {"decoder_input_ids": ids} if name.startswith("t5") else {}
  with torch.no_grad():
    expected = theirs(input_ids=ids, **more).logits
    assert torch.equal(again(input_ids=ids, **more).logits, expected)


def test_bfloat16_checkpoints_of_theirs(case, tmp_path):
  _, theirs = case("t5 v1.1")
  folder = tmp_path / "theirs"
  narrow = type(theirs)(theirs.config)
  narrow.load_state_dict(theirs.state_dict())
  narrow.to(torch.bfloat16).save_pretrained(folder)
  model, params = hf.load(folder, dtype="bfloat16")
  hf.save(tmp_path / "ours", model, params, source=folder)
  before, after = tensors(folder), tensors(tmp_path / "ours")
  assert before.keys() == after.keys()
  for tensor, (dtype, values) in before.items():
    assert dtype == after[tensor][0] == "BF16"
    assert values.tobytes() == after[tensor][1].tobytes()


def test_names_without_the_prefix_of_the_whole_model(case, tmp_path):
  """As in the first GPT-2 checkpoints: "wte.weight", with masks as buffers."""
  folder, _ = case("gpt 2")
  values = {
    name.removeprefix("transformer."): array
    for name, (_, array) in tensors(folder).items()
  }
  values["h.0.attn.bias"] = np.ones((1, 1, 4, 4))
  shapes = {name: array.shape for name, array in values.items()}
  writer = Writer(tmp_path / SINGLE, shapes, "F32")
  for name, array in values.items():
    writer.write(name, array, None, 0)
  writer.close()
  (tmp_path / "config.json").write_text((folder / "config.json").read_text())
  expected = flatten(hf.load(folder)[1])
  for path, leaf in flatten(hf.load(tmp_path)[1]).items():
    np.testing.assert_array_equal(leaf, expected[path])
