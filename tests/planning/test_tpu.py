"""Plans by the TPU's compiler, where it is installed."""

import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from plans import TINY

from offalign.config import Config, DataConfig
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.planning import chips, hlo, kernel_flops, traffic
from offalign.planning.program import PlanConfig
from offalign.programs import plan as plan_lib

pytestmark = pytest.mark.skipif(
  not chips.has_libtpu(), reason="libtpu is not installed"
)


def test_a_topology_that_libtpu_does_not_know_is_refused():
  with pytest.raises(UserError, match="libtpu knows no such one"):
    chips.slice_of("v5e:3x3")


def test_a_mesh_that_does_not_follow_the_links_is_refused():
  place = chips.slice_of("v5p:4x4x4")
  with pytest.raises(UserError, match="does not follow the links"):
    sharding.make_mesh(MeshConfig(2, 32, 1), place.devices)


@pytest.mark.slow
def test_the_step_compiles_for_a_tpu(tmp_path, monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)
  (tmp_path / "config.json").write_text(json.dumps(TINY))
  tiny = PlanConfig(
    model=str(tmp_path),
    topology="v5e:2x2",
    loss="sft",
    batch=16,
    prompt=8,
    completion=4,
  )
  place, figures, _ = plan_lib.plan(tiny)
  assert (place.chips, place.per_chip) == (4, 1)
  assert figures.fits
  assert figures.device_flops == pytest.approx(figures.flops / 4, rel=0.02)
  assert figures.sent > 0


def test_a_tpu_gathers_the_weights_of_each_layer_once():
  """As it will run, with loops, fusions and groups in the TPU's spelling."""
  layers, width, copies, share = 4, 1024, 4, 16
  place = chips.slice_of("v5e:8x8")
  mesh = sharding.make_mesh(MeshConfig(copies, share, 1), place.devices)
  rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))
  split = NamedSharding(mesh, PartitionSpec(None, "fsdp"))

  def program(ws, x):
    def layer(x, w):
      return jax.lax.with_sharding_constraint(jnp.tanh(x @ w), rows), None

    return jax.lax.scan(layer, x, ws)[0]

  ws, x = (
    jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=where)
    for shape, where in (
      ((layers, width, width), split),
      ((128, 512, width), rows),
    )
  )
  compiled = jax.jit(program).lower(ws, x).compile()
  module = hlo.parse(compiled.as_text())
  (sent,) = traffic.collectives(module, 64).values()
  whole = layers * width * width * 2
  assert (sent.calls, sent.sent) == (layers, whole * (share - 1) / share)
  assert traffic.flops(module) == layers * 2 * 2 * 512 * width * width


@pytest.mark.slow
def test_long_pairs_compile_with_the_kernel(tmp_path, monkeypatch):
  """Rows over two chips and heads over two; what it computes is counted."""
  (tmp_path / "config.json").write_text(json.dumps(TINY))
  run = Config(
    model=str(tmp_path),
    loss="dpo",
    batch_size=4,
    data=DataConfig(max_prompt=600, max_completion=200),
    mesh=MeshConfig(fsdp=2, tensor=2),
  )
  calls, count = [], kernel_flops.flops

  def counting(name):
    calls.append(count(name))
    return calls[-1]

  monkeypatch.setattr(kernel_flops, "flops", counting)
  _, figures, _ = plan_lib.plan(PlanConfig(topology="v5e:2x2"), run)
  assert figures.fits
  # Forward, and two kernels backward, traced and compiled.
  assert [call > 0 for call in calls].count(True) == 2 * 3
  assert figures.device_flops == pytest.approx(figures.flops / 4, rel=0.02)
