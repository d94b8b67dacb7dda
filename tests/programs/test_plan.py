"""Plans: on the devices of this machine, but for one for a TPU."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from absl import flags as absl_flags
from plans import TINY

from benchmarks import plan_table
from offalign.config import Config
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.models.lora import LoraConfig
from offalign.planning import analysis, chips, from_config, meshes, report
from offalign.planning.chips import CHIPS, Slice
from offalign.planning.program import PlanConfig, bytes_per_device
from offalign.planning.program import build as build_step
from offalign.programs import flags as flags_lib
from offalign.programs import plan as plan_lib
from offalign.programs.plan_options import together


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("model")
  (path / "config.json").write_text(json.dumps(TINY))
  return path


@pytest.fixture(scope="module")
def config(folder):
  return PlanConfig(
    model=str(folder),
    topology="v5e:2x4",
    batch=16,
    prompt=8,
    completion=4,
    optimizer="adafactor",
  )


def build(config, model, mesh):
  return build_step(together(config).step, model, mesh)


@pytest.fixture
def here(monkeypatch):
  """The eight devices of the tests, in place of a TPU's."""
  place = Slice("v5e:2x4", CHIPS["v5e"], 8, jax.devices())
  monkeypatch.setattr(chips, "slice_of", lambda topology: place)
  return place


@pytest.fixture
def _any_size(monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("_any_size")
def test_a_plan_says_what_a_step_takes(config, here, tmp_path, capsys):
  out = tmp_path / "t5-large-16.json"
  config = dataclasses.replace(config, loss="sft")
  place, figures, rows = plan_lib.plan(config)
  assert figures.fits
  memory = figures.memory
  listed = [
    getattr(memory, field.name)
    for field in dataclasses.fields(memory)
    if field.name != "total"
  ]
  assert sum(listed) == memory.total
  assert min(listed) >= 0
  # Only what the mesh does not divide is computed more than once.
  assert figures.device_flops == pytest.approx(figures.flops / 8, rel=0.02)
  bound = figures.bound
  assert bound.compute == figures.device_flops / 197e12
  assert bound.network == figures.sent / 200e9
  assert bound.seconds == max(bound.compute, bound.memory, bound.network)
  # FSDP gathers the bfloat16 weights of the layers; to do so twice for the
  # policy alone moves more than the whole policy.
  assert figures.collectives["all-gather"].sent > memory.parameters
  plan_lib.write(out, together(config), place, rows)
  kept = json.loads(out.read_text())
  assert kept["plans"][0]["mesh"] == "fsdp=8"
  assert kept["plans"][0]["memory"]["total"] == memory.total
  table = plan_table.table(tmp_path).splitlines()
  assert len(table) == 2 + len(plan_table.ROWS)
  assert "| v5e:4x4, fsdp=8 | yes | 0." in table[2]
  assert all(line.endswith("not planned yet |") for line in table[3:])
  text = report.text(figures, here)
  assert text.startswith("fits: yes")
  assert "all-gather" in text
  assert "compiling for v5e:2x4 as fsdp=8" in capsys.readouterr().err


@pytest.mark.usefixtures("_any_size")
@pytest.mark.parametrize("mesh", [(1, 8, 1), (2, 2, 2)])
def test_bytes_of_a_device_are_those_that_training_puts_there(config, mesh):
  model = from_config.model_of(config.model)
  devices = sharding.make_mesh(MeshConfig(*mesh))
  program = build(config, model, devices)
  state = program.learner.init(model.init(jax.random.key(0)))
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)
  assert shapes == jax.tree.map(
    lambda x: (x.shape, x.dtype, x.sharding), program.state
  )
  for part in ("params", "opt_state"):
    held = sum(
      leaf.addressable_shards[0].data.nbytes
      for leaf in jax.tree.leaves(getattr(state, part))
    )
    assert bytes_per_device(getattr(program.state, part)) == held
  batch = sharding.put_batch(
    devices,
    jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.batch),
  )
  program.learner.check_batch(batch)
  assert jax.tree.map(lambda x: x.sharding, batch) == jax.tree.map(
    lambda x: x.sharding, program.batch
  )


@pytest.mark.parametrize(
  ("loss", "columns", "k"),
  [
    ("dro_v", {"rewards", "ref_logps"}, 1),
    ("dpo", {"ref_logps"}, 2),
    ("kto", {"labels", "ref_logps", "ref_mismatched_logps"}, 1),
    ("sft", set(), 1),
  ],
)
def test_a_batch_has_what_the_loss_reads(config, loss, columns, k):
  config = dataclasses.replace(config, loss=loss)
  model = from_config.model_of(config.model)
  program = build(config, model, sharding.one_device())
  batch = program.batch
  names = ("rewards", "labels", "ref_logps", "ref_mismatched_logps")
  assert {x for x in names if getattr(batch, x) is not None} == columns
  assert batch.completions.shape == (16, k, 4)
  assert program.ref_params is None
  jax.eval_shape(program.learner.step, program.state, batch, None)


def test_lora_has_frozen_weights_in_the_compute_dtype(config):
  config = dataclasses.replace(config, loss="kto", lora=LoraConfig(rank=2))
  model = from_config.model_of(config.model)
  program = build(config, model, sharding.one_device())
  frozen = jax.tree.leaves(program.ref_params)
  assert {leaf.dtype.name for leaf in frozen} == {"bfloat16"}
  assert bytes_per_device(frozen) > bytes_per_device(program.state.params)
  jax.eval_shape(
    program.learner.step, program.state, program.batch, program.ref_params
  )


def test_what_does_not_fit_is_no_error(config, here, monkeypatch, capsys):
  message = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory "
    "in memory space hbm. Used 20.52G of 15.75G hbm. Exceeded by 4.77G."
  )

  class Full:
    def compile(self):
      raise jax.errors.JaxRuntimeError(message)

  class Traced:
    jaxpr = jax.make_jaxpr(lambda x: x @ x)(np.ones((8, 8)))

    def lower(self):
      return Full()

  monkeypatch.setattr(
    "offalign.planning.program.Program.trace", lambda self: Traced()
  )
  _, figures, _ = plan_lib.plan(config)
  assert not figures.fits
  assert report.verdict(figures) == "no (20.52G needed of 15.75G)"
  assert figures.flops == 2 * 8**3
  assert "does not fit" in report.ranking([("fsdp=8", figures)], {})


def test_what_the_compiler_takes_may_still_be_too_much():
  figures = analysis.Figures(
    fits=False,
    reason="106 of 102 GB",
    memory=analysis.Memory(1, 0, 1, 1, total=106 * 10**9),
    hbm=102e9,
    flops=8.0,
    device_flops=1.0,
    collectives={},
    bound=analysis.Bound(1.0, 0.0, 0.0),
    compile_seconds=0.0,
  )
  assert report.verdict(figures) == "no (106 of 102 GB)"
  assert "does not fit: 106" in report.ranking([("fsdp=8", figures)], {})


def test_auto_tries_what_divides_and_says_what_it_leaves_out(config):
  model = from_config.model_of(config.model)
  found = meshes.candidates(8)
  assert [meshes.spell(mesh) for mesh in found] == [
    "fsdp=8",
    "data=8",
    "data=2,fsdp=4",
    "fsdp=4,tensor=2",
    "fsdp=2,tensor=4",
    "tensor=8",
  ]
  why = {
    meshes.spell(mesh): meshes.objection(mesh, model, batch=4, microbatches=1)
    for mesh in found
  }
  assert why["fsdp=8"] == "a batch of 4 is no multiple of 8"
  assert why["tensor=8"] == "tensor=8 does not divide the heads"
  assert why["fsdp=4,tensor=2"] is None
  assert meshes.candidates(1) == [MeshConfig(1, 1, 1)]


def test_meshes_are_ranked_and_the_best_is_told(
  config, here, monkeypatch, capsys
):
  sent = {8: 3.0, 4: 1.0, 2: 2.0, 1: 9.0}

  def figures(program, place):
    mesh = program.learner.mesh
    seconds = sent[mesh.shape["fsdp"]]
    fits = mesh.shape["tensor"] == 1
    return analysis.Figures(
      fits=fits,
      reason="20G needed of 16G",
      memory=analysis.Memory(1, 0, 1, 1, total=3 if fits else None),
      hbm=16e9,
      flops=8.0,
      device_flops=1.0,
      collectives={},
      bound=analysis.Bound(seconds, 0.0, 0.0),
      compile_seconds=0.0,
    )

  monkeypatch.setattr(plan_lib, "figures", figures)
  auto = dataclasses.replace(config, mesh="auto")
  _, best, rows = plan_lib.plan(auto)
  assert [mesh for mesh, _ in rows] == [
    "data=2,fsdp=4",
    "fsdp=8",
    "data=8",
    "fsdp=4,tensor=2",
    "fsdp=2,tensor=4",
  ]
  assert best is rows[0][1]
  table = capsys.readouterr().out
  assert "left out: tensor=8 does not divide the heads" in table


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"model": ""}, "^model is missing; give one such as model=google/flan"),
    (
      {"topology": ""},
      "^topology is missing; give one such as topology=v5e",
    ),
    ({"topology": "v5e"}, "name a chip and how many"),
    ({"topology": "v5f:2x2"}, "no rates of a chip 'v5f'"),
    ({"batch": 0}, "^batch must be at least 1"),
    ({"batch": 12}, "a batch of 12 prompts cannot be split over 8"),
    ({"microbatches": 4}, "a batch of 16 prompts cannot be split"),
    ({"mesh": "fsdp=3"}, "does not fit 8 devices"),
    ({"mesh": "model=8"}, "'model=8' is no axis"),
    ({"loss": "drov"}, "dro_v"),
    ({"loss": "dpo", "value": "shared"}, "has no value function"),
    ({"group_size": 4}, "is not on groups"),
    ({"model": "nowhere/at/all"}, "no such folder"),
    ({"model": "config.yaml"}, "no such folder"),
  ],
)
def test_flags_that_cannot_be_are_refused(config, here, flags, message):
  with pytest.raises(UserError, match=message):
    plan_lib.plan(dataclasses.replace(config, **flags))


def test_a_sentence_names_the_flag_that_was_given():
  values = absl_flags.FlagValues()
  flags_lib.define(PlanConfig, "", values)
  flags_lib.define(Config, "cfg", values)
  values(["-", "--batch=4", "--cfg.batch_size=8", "--cfg.microbatches=0"])
  names = ("batch", "cfg.batch_size", "microbatches", "loss", "remat")
  assert [plan_lib.of_plan(name, values) for name in names] == [
    "--batch",
    "--cfg.batch_size",
    "--cfg.microbatches",
    "--loss",
    "--cfg.remat",
  ]


def test_meshes_by_both_names_are_compared_on_the_devices(config, here):
  run = Config(mesh=MeshConfig(fsdp=4))
  same = together(dataclasses.replace(config, mesh="data=2,fsdp=4"), run)
  model = from_config.model_of(config.model)
  assert plan_lib._meshes(same, model, here)[0] == [MeshConfig(2, 4, 1)]
  with pytest.raises(UserError, match=r"mesh=fsdp is set beside cfg\.mesh\.f"):
    plan_lib.plan(dataclasses.replace(config, mesh="fsdp"), run)


def test_the_mesh_that_training_would_choose_is_planned(config, here, capsys):
  run = Config(mesh=MeshConfig(auto=True))
  model = from_config.model_of(config.model)
  chosen, _ = plan_lib._meshes(together(config, run), model, here)
  assert chosen == [MeshConfig(8, 1, 1)]
  assert "training would choose data=8 (its state" in capsys.readouterr().out


def test_a_model_that_is_not_implemented_is_refused(config, here, tmp_path):
  (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
  odd = dataclasses.replace(config, model=str(tmp_path / "config.json"))
  with pytest.raises(UserError, match=r"model_type='mamba' is not implemented"):
    plan_lib.plan(odd)


def test_without_a_network_a_name_is_refused_in_a_sentence():
  with pytest.raises(UserError, match="cannot be had from the Hugging Face"):
    from_config.model_of("google/no-such-model")


def test_without_libtpu_it_says_how_to_get_it(monkeypatch):
  monkeypatch.setattr(chips, "has_libtpu", lambda: False)
  with pytest.raises(UserError, match=r"pip install 'offalign\[tpu\]'"):
    chips.slice_of("v5e:2x2")
