"""Where state and batches lie; nothing here is compiled."""

import jax
import numpy as np
import optax
import pytest

from offalign import models
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.learner import optim
from offalign.models import functions
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder

FAMILIES = {
  "decoder": "decoder(width=16, layers=4, heads=4)",
  "t5": "t5(width=16, layers=4, heads=4, head_dim=8, mlp_width=64)",
}


@pytest.fixture(autouse=True)
def _any_size(monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)


def placed(model, mesh, of=lambda params: params):
  """Path -> axes of each leaf, those of trailing axes left out."""
  if isinstance(model, str):
    model = models.make(model, vocab_size=36)
  tree = jax.eval_shape(lambda key: of(model.init(key)), jax.random.key(0))
  found = sharding.state_shardings(mesh, tree, model.splits)
  leaves, _ = jax.tree_util.tree_flatten_with_path(found)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.spec)
    for path, leaf in leaves
  }


def test_a_decoder_is_split_by_heads_units_and_tokens():
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  columns, rows = (None, "fsdp", "tensor"), (None, "tensor", "fsdp")
  assert placed(FAMILIES["decoder"], mesh) == {
    "embedding/table": ("tensor", "fsdp"),
    "head/kernel": ("fsdp", "tensor"),
    "layers/attention_norm/scale": (None, "fsdp"),
    "layers/mlp_norm/scale": (None, "fsdp"),
    **{f"layers/{x}/kernel": columns for x in ("query", "key", "value", "up")},
    **{f"layers/{x}/kernel": rows for x in ("out", "down")},
    "norm/scale": ("fsdp",),
  }


def test_a_t5_is_split_alike_with_its_position_biases_by_heads():
  found = placed(FAMILIES["t5"], sharding.make_mesh(MeshConfig(2, 2, 2)))
  for side, parts in (("encoder", ("attention",)), ("decoder", ("cross",))):
    assert found[f"{side}/bias/embedding/table"] == ("fsdp", "tensor")
    for part in ("attention", *parts):
      path = f"{side}/layers/{part}"
      assert found[f"{path}/query/kernel"] == (None, "fsdp", "tensor")
      assert found[f"{path}/out/kernel"] == (None, "tensor", "fsdp")
    path = f"{side}/layers/mlp"
    assert found[f"{path}/gate/kernel"] == (None, "fsdp", "tensor")
    assert found[f"{path}/down/kernel"] == (None, "tensor", "fsdp")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_of_a_block_is_in_the_table(family):
  """A projection under a new name would be whole on every device."""
  mesh = sharding.make_mesh(MeshConfig(1, 1, 4), jax.devices()[:4])
  for path, axes in placed(FAMILIES[family], mesh).items():
    norm = "norm" in path
    assert ("tensor" in axes) == (not norm), path


@pytest.mark.parametrize("name", ["adam", "adafactor"])
@pytest.mark.parametrize("family", FAMILIES)
def test_moments_lie_with_their_params(family, name):
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  config = optim.OptimizerConfig(name=name)
  tx = optim.make(config, value=False, steps=1)["policy"]
  params = placed(FAMILIES[family], mesh)
  state = placed(FAMILIES[family], mesh, tx.init)
  same = [
    path
    for path, axes in state.items()
    for param, expected in params.items()
    if path.endswith("/" + param) and axes == expected
  ]
  # Leaves of these sizes are not factored by Adafactor, whose v_row and v_col
  # are then placeholders of one element.
  moments = {"adam": 2, "adafactor": 1}[name]
  assert len(same) == moments * len(params)


def test_factored_moments_are_split_where_they_have_the_axis():
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  tx = optim.per_layer(optax.scale_by_factored_rms(min_dim_size_to_factor=2))
  state = placed(FAMILIES["decoder"], mesh, tx.init)
  at = "layers/v_{}/layers/{}/kernel".format
  assert state[at("row", "up")] == (None, "fsdp")  # [L, d]
  assert state[at("col", "up")] == (None, "tensor")  # [L, mlp_width]
  assert all(
    not axes or axes[0] is None
    for path, axes in state.items()
    if path.startswith("layers/")
  )


def test_the_layers_of_a_stack_are_never_apart():
  deep = "decoder(width=6, layers=8, heads=1, mlp_ratio=1)"
  mesh = sharding.make_mesh(MeshConfig(1, 8, 1))
  for path, axes in placed(deep, mesh).items():
    assert "layers" not in path or axes == (), path


def test_what_cannot_be_split_is_whole_and_said():
  config = DecoderConfig(vocab_size=35, width=16, heads=4, kv_heads=2)
  grouped = functions.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="grouped",
    vocab_size=35,
    width=16,
  )
  mesh = sharding.make_mesh(MeshConfig(2, 1, 4))
  found = placed(grouped, mesh)
  assert found["layers/key/kernel"] == ()
  assert found["layers/query/kernel"] == (None, None, "tensor")
  assert sharding.unsplit(mesh, grouped.splits) == [
    "tensor=4 does not divide 2 heads of keys and values: key/kernel, "
    "key/bias, value/kernel, value/bias are whole on each of the 4 devices",
    "tensor=4 does not divide 35 tokens of the vocabulary: head/kernel, "
    "head/bias, embedding/table are whole on each of the 4 devices",
  ]
  assert not sharding.unsplit(sharding.one_device(), grouped.splits)


def test_one_process_holds_every_row():
  for shape in ((8, 1, 1), (2, 2, 2)):
    mesh = sharding.make_mesh(MeshConfig(*shape))
    np.testing.assert_array_equal(sharding.local_rows(mesh, 16), range(16))


def test_a_batch_is_split_over_data_and_fsdp_alone():
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  sharding.check_batch_size(mesh, 4, 1)
  placed = sharding.put_batch(mesh, {"x": np.arange(8)})["x"]
  assert {s.data.shape for s in placed.addressable_shards} == {(2,)}
  assert sharding.describe(mesh) == "8 device(s) as data=2 x fsdp=2 x tensor=2"


def test_a_host_holds_the_rows_of_its_devices_however_many_there_are(
  monkeypatch,
):
  mine = set(jax.devices()[:2])  # of this host; the others' are elsewhere

  def addressable(self, shape):
    found = self.devices_indices_map(shape)
    return {d: index for d, index in found.items() if d in mine}

  monkeypatch.setattr(
    jax.sharding.Sharding, "addressable_devices_indices_map", addressable
  )
  for devices in (2, 4, 8):
    config = MeshConfig(devices // 2, 2, 1)
    mesh = sharding.make_mesh(config, jax.devices()[:devices])
    assert sharding.local_rows(mesh, 3 * devices).tolist() == list(range(6))
