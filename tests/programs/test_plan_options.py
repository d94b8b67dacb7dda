"""Short flags of a plan and flags of training: one run, or an error."""

import pytest
from absl import flags as absl_flags

from offalign.config import Config, DataConfig
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.models.lora import LoraConfig
from offalign.planning.program import PlanConfig
from offalign.programs import flags
from offalign.programs.plan_options import TWINS, together


def parse(*args):
  """What a command line asks for."""
  values = absl_flags.FlagValues()
  flags.define(PlanConfig, "", values)
  flags.define(Config, "cfg", values)
  values(["plan", *args])
  present = {name for name in values if values[name].present}
  given = {x[4:] for x in present if x.startswith("cfg.")}
  run = flags.read(Config, values=values) if given else None
  return together(flags.read(PlanConfig, "", values), run, given, present)


BOTH = {
  "model": "decoder(width=8)",
  "loss": "ppo",
  "imports": "json",
  "batch": "8",
  "prompt": "9",
  "completion": "7",
  "microbatches": "2",
  "compute_dtype": "bfloat16",
  "optimizer": "adafactor",
  "value": "shared",
  "lora.rank": "3",
  "lora.alpha": "5",
  "lora.targets": "query",
}


def test_a_short_flag_is_its_twin():
  assert BOTH.keys() == TWINS.keys()
  short = parse(*(f"--{name}={value}" for name, value in BOTH.items()))
  twins = [f"--cfg.{TWINS[name]}={value}" for name, value in BOTH.items()]
  found = parse(*twins)
  assert found.step == short.step
  assert found.run == short.run
  assert (short.mesh, found.mesh) == ("fsdp", MeshConfig())
  step = found.step
  assert (step.batch, step.prompt, step.completion, step.k) == (8, 9, 7, 1)
  learner = step.learner
  assert learner.value == ValueConfig(network="shared")
  assert learner.lora == LoraConfig(rank=3, alpha=5.0, targets="query")
  # Both may be given where they agree.
  both = parse("--batch=8", "--cfg.batch_size=8", "--cfg.lora.rank=16")
  assert both.step.batch == 8


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_short_flag_and_its_twin_that_differ_are_refused(name):
  other = {"compute_dtype": "float32", "optimizer": "adam", "value": "separate"}
  usual = {"batch": "32", "microbatches": "1", "lora.rank": "16"}
  value = other.get(name, usual.get(name, BOTH[name] + "1"))
  with pytest.raises(UserError, match=r"is set beside cfg\..*one of them"):
    parse(f"--{name}={BOTH[name]}", f"--cfg.{TWINS[name]}={value}")


@pytest.mark.parametrize(
  ("mesh", "twin"),
  [
    ("fsdp", "--cfg.mesh.auto"),
    ("auto", "--cfg.mesh.auto"),
    ("auto", "--cfg.mesh.data=4"),
  ],
)
def test_two_meshes_are_refused(mesh, twin):
  with pytest.raises(UserError, match=r"mesh=.* is set beside cfg\.mesh\."):
    parse(f"--mesh={mesh}", twin)


def test_one_mesh_may_be_said_twice():
  twins = ("--cfg.mesh.data=2", "--cfg.mesh.fsdp=4")
  assert parse("--mesh=data=2,fsdp=4", *twins).mesh == "data=2,fsdp=4"
  assert parse("--mesh=auto").mesh is None
  assert parse("--cfg.mesh.auto").mesh == MeshConfig(auto=True)


def test_beside_flags_of_training_defaults_are_those_of_training():
  alone, run = parse("--model=decoder"), parse("--cfg.model=decoder")
  assert alone.step.learner.compute_dtype == "bfloat16"
  assert (alone.step.prompt, alone.step.completion) == (512, 256)
  assert run.step.learner.compute_dtype is None
  usual = DataConfig()
  lengths = (usual.max_prompt, usual.max_completion)
  assert (run.step.prompt, run.step.completion) == lengths
  assert parse("--batch=4", "--cfg.remat=dots").step.learner.remat == "dots"


def test_what_shapes_no_step_is_told_apart():
  found = parse(
    "--cfg.out=runs/x",
    "--cfg.data.path=log.jsonl",
    "--cfg.steps=9",
    "--cfg.data.max_prompt=8",
    "--cfg.logp_chunk=64",
    "--cfg.hosts.coordinator=auto",
  )
  idle = ["data.path", "hosts.coordinator", "out", "steps"]
  assert found.idle == idle
  assert found.step.learner.logp_chunk == 64


@pytest.mark.parametrize(
  ("args", "why"),
  [
    (["--cfg.packing"], "packing=true has no plan: the shape of packed rows"),
    (["--cfg.batch_size=0"], "^batch_size must be at least 1, not 0"),
    (["--batch=0"], "^batch must be at least 1, not 0"),
    (["--cfg.logp_chunk=0"], "^logp_chunk must be at least 1"),
    (["--cfg.steps=3", "--cfg.epochs=2"], "epochs=2 is set beside steps=3"),
    (["--cfg.reference=round"], "this run has no rounds"),
    (["--cfg.data.max_prompt=0"], "data.max_prompt must be at least 1"),
    (["--cfg.loss=drov"], "dro_v"),
    (["--cfg.lora.rank=0"], "lora.rank must be at least 1"),
    (["--group_size=3"], "is not on groups"),
  ],
)
def test_what_training_refuses_a_plan_refuses(args, why):
  with pytest.raises(UserError, match=why):
    parse(*args)


def test_from_python_what_is_not_at_its_default_is_given():
  run = Config(model="decoder", loss="dpo", batch_size=64, remat="block")
  found = together(PlanConfig(prompt=16, completion=4), run)
  assert found.given == {
    "model",
    "loss",
    "batch_size",
    "remat",
    "data.max_prompt",
    "data.max_completion",
  }
  assert found.step.k == 2
  assert str(found) == (
    "decoder, dpo, adam, float32, batch 64 x (16 + 4), remat block"
  )
  with pytest.raises(UserError, match=r"batch=8 is set beside cfg.batch_size"):
    together(PlanConfig(batch=8), run)
