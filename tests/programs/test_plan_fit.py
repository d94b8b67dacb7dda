"""--fit: what is tried, what is kept as given, and the command it prints."""

import json
import shlex

import jax
import pytest
from absl import flags as absl_flags
from plans import TINY

from offalign.config import Config, DataConfig
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.learner.optim import OptimizerConfig
from offalign.models.lora import LoraConfig
from offalign.planning import analysis, chips
from offalign.planning.chips import CHIPS, Slice
from offalign.planning.fit import Candidate
from offalign.planning.program import PlanConfig
from offalign.programs import flags as flags_lib
from offalign.programs import plan as plan_lib
from offalign.programs import plan_fit
from offalign.programs.plan_options import together


@pytest.fixture
def place(monkeypatch):
  """The eight devices of the tests; of each program, bounds by a formula."""
  place = Slice("v5e:2x4", CHIPS["v5e"], 8, jax.devices())
  monkeypatch.setattr(chips, "slice_of", lambda topology: place)

  def figures(program, place):
    shape = program.learner.mesh.shape
    cut = program.learner._objective.microbatches
    # What keeps everything of a whole batch does not fit.
    fits = cut > 1
    return analysis.Figures(
      fits=fits,
      reason="" if fits else "20G needed of 16G",
      memory=analysis.Memory(1, 0, 1, 1, total=3 if fits else None),
      hbm=16e9,
      flops=8.0,
      device_flops=1.0,
      collectives={},
      bound=analysis.Bound(0.01 * shape["tensor"] * cut, 0.0, 0.0),
      compile_seconds=0.0,
    )

  monkeypatch.setattr(plan_fit, "figures", figures)
  return place


def train_config(command):
  """The `Config` that a printed command stands for."""
  program, name, *words = shlex.split(command)
  assert (program, name) == ("offalign", "train")
  values = absl_flags.FlagValues()
  flags_lib.define(Config, "cfg", values)
  values(["-", *words])
  return flags_lib.read(Config, values=values)


def test_the_best_plan_is_printed_with_its_command(place, tmp_path, capsys):
  (tmp_path / "config.json").write_text(json.dumps(TINY))
  config = PlanConfig(
    model=str(tmp_path / "config.json"),
    topology="v5e:2x4",
    loss="dpo",
    batch=16,
    prompt=8,
    completion=4,
    lora=LoraConfig(rank=2),
    fit=True,
  )
  _, best, rows = plan_lib.plan(config)
  printed = capsys.readouterr().out
  assert best.fits
  assert rows[0][0] == "data=8, microbatches=2"
  reason = "does not fit: 20G needed of 16G:\n    data=8 (microbatches 1, "
  assert reason in printed
  assert "fsdp x microbatches do not divide the batch of 16:" in printed
  command = printed[printed.index("offalign train") :].split("\n\n")[0]
  assert train_config(command) == Config(
    model=str(tmp_path),
    loss="dpo",
    out="RUN",
    batch_size=16,
    microbatches=2,
    compute_dtype="bfloat16",
    data=DataConfig(path="DATA", max_prompt=8, max_completion=4),
    lora=LoraConfig(rank=2),
    mesh=MeshConfig(data=8),
  )


def test_what_is_given_is_kept(place):
  run = Config(model="decoder(width=16)", loss="sft", tokenizer="byte")
  planned = together(PlanConfig(mesh="fsdp", microbatches=4), run)
  assert plan_fit.is_fixed(planned)
  assert not plan_fit.is_fixed(together(PlanConfig(), run))
  assert not plan_fit.is_fixed(together(PlanConfig(mesh="auto"), run))
  model = plan_lib.plan_model.model_of(run)
  mesh = [MeshConfig(1, 8, 1)]
  able, unable = plan_fit._candidates(planned, mesh, model, place)
  assert able == [
    Candidate(mesh[0], 4, remat) for remat in ("none", "dots", "block")
  ]
  assert not unable


def test_a_command_has_what_was_given_and_no_more():
  run = Config(
    model="google/flan-t5-large",
    out="runs/a b",
    steps=300,
    data=DataConfig(path="log.jsonl", normalize_rewards=False),
    optimizer=OptimizerConfig(name="adafactor"),
  )
  planned = together(PlanConfig(), run)
  best = Candidate(MeshConfig(2, 4, 1), 2, "dots")
  command = plan_fit.command(planned, best)
  assert "'--cfg.out=runs/a b'" in command
  assert "--cfg.data.normalize_rewards=false" in command
  found = train_config(command)
  assert (found.mesh, found.microbatches, found.remat) == (
    best.mesh,
    2,
    "dots",
  )
  assert (found.steps, found.optimizer) == (300, run.optimizer)


@pytest.mark.parametrize(
  ("flags", "why"),
  [
    ({"fit_compiles": 3}, "^fit_compiles=3 is for fit"),
    ({"fit": True, "fit_compiles": 0}, "fit_compiles=0 must be at least 1"),
  ],
)
def test_a_limit_that_cannot_be_is_refused(flags, why):
  with pytest.raises(UserError, match=why):
    plan_lib.plan(PlanConfig(model="decoder", topology="v5e:2x4", **flags))
