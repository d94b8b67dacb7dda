"""The KL divergence from the reference, on what the policy writes itself."""

import dataclasses
import json
import math
import pathlib

import jax
import numpy as np
import pytest
import runs

from offalign import losses
from offalign.config import Config
from offalign.data import Message
from offalign.distributed.hosts import HostsConfig
from offalign.distributed.sharding import MeshConfig
from offalign.distributed.signals import Stop
from offalign.errors import UserError
from offalign.learner.optim import OptimizerConfig
from offalign.models.lora import LoraConfig
from offalign.training import own_samples
from offalign.training.own_samples import OwnSamples
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once")
NAMES = (
  own_samples.KL,
  own_samples.ERROR,
  own_samples.PER_TOKEN,
  own_samples.UNFINISHED,
)
FAST = OptimizerConfig(learning_rate=3e-2)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


def train(log, out, **changes):
  given = {"loss": "dro_v(tau=0.5)", "eval_samples": 8, "optimizer": FAST}
  return runs.train(log, out, **(given | changes))


@pytest.fixture(scope="module")
def run(log, tmp_path_factory):
  return train(log, tmp_path_factory.mktemp("run") / "one")


def logged(run, names=NAMES):
  """step -> the figures, of the lines that have them."""
  return {
    line["step"]: {name: line[name] for name in names if name in line}
    for line in runs.metrics(run.folder)
    if own_samples.KL in line
  }


def measuring(config, drawn):
  """A run that trains nothing, its first policy and what measures it."""
  run = Run(config)
  first = run._first
  return (
    run,
    first,
    OwnSamples(run.config, run.learner, run.inputs, drawn, lambda: first),
  )


def test_evaluations_have_it_and_the_start_does_not(run):
  found = logged(run)
  assert list(found) == [2, 4]
  for each in found.values():
    assert tuple(each) == NAMES
    assert all(map(math.isfinite, each.values()))
    assert 0 <= each[own_samples.UNFINISHED] <= 1
    assert each[own_samples.KL] != 0 < each[own_samples.ERROR]


def test_nothing_else_changes(run, log, tmp_path):
  without = train(log, tmp_path / "run", eval_samples=0)
  assert not logged(without)
  kept = [
    {k: v for k, v in line.items() if k not in NAMES}
    for line in runs.metrics(run.folder)
  ]
  assert kept == runs.metrics(without.folder)


def test_a_run_that_goes_on_has_the_same_figures(run, log, tmp_path):
  train(log, tmp_path / "run", steps=2)
  resumed = train(log, tmp_path / "run", steps=4)
  assert runs.metrics(resumed.folder) == runs.metrics(run.folder)


def test_weights_that_are_read_again_are_the_same(
  run, log, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(own_samples, "_KEPT", -1)
  again = train(log, tmp_path / "run", steps=2)
  assert logged(again)[2] == logged(run)[2]
  lines = capsys.readouterr().out.split("\n")
  (line,) = [line for line in lines if "own samples" in line]
  assert line.startswith("step 2: held-out loss")
  assert " nats (" in line
  assert " a token" in line


def test_other_meshes_have_the_same_figures(run, log, tmp_path):
  mesh = MeshConfig(data=2, fsdp=2, tensor=2)
  found = logged(train(log, tmp_path / "run", mesh=mesh, steps=2))
  assert found[2] == pytest.approx(logged(run)[2], rel=1e-3, abs=1e-4)


def test_the_estimate_is_near_the_divergence(log, tmp_path):
  """Of completions of one token, where it is a sum over the vocabulary."""
  run, first, own = measuring(runs.config(log, tmp_path / "r"), 4096)
  own.longest, own._rows = 1, 512
  assert own.measure(1, first, Stop())[own_samples.KL] == 0.0
  rng = np.random.default_rng(0)
  policy = jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), first
  )
  found = own.measure(1, policy, Stop())
  assert found == own.measure(1, policy, Stop())
  assert found != own.measure(2, policy, Stop())
  assert found[own_samples.PER_TOKEN] == pytest.approx(found[own_samples.KL])
  prompts, mask = own._prompts.padded(np.arange(4096), own._width, 0)
  model, exact = run.learner.model, 0.0
  logps = [
    jax.nn.log_softmax(
      model.prompt_state(params, prompts, mask) @ model.unembedding(params)
    )
    for params in (policy, first)
  ]
  exact = float((np.exp(logps[0]) * (logps[0] - logps[1])).sum(-1).mean())
  assert exact > 0.1
  assert abs(found[own_samples.KL] - exact) < 3 * found[own_samples.ERROR]


@pytest.mark.parametrize(
  "changes",
  [{"lora": LoraConfig(rank=2)}, {"model": runs.T5, "packing": True}],
  ids=str,
)
def test_adapters_and_other_models(log, tmp_path, changes):
  found = logged(train(log, tmp_path / "run", steps=2, **changes))
  assert abs(found[2][own_samples.KL]) > 0


def test_losses_whose_reference_comes_by_token(log, tmp_path):
  lines = pathlib.Path(log).read_text(encoding="utf-8").splitlines()
  parts = []
  for row in map(json.loads, lines):
    span = {"start": 0, "end": 2, "reward": row.pop("reward")}
    parts.append(row | {"spans": [span]})
  rated = runs.write(tmp_path / "parts.jsonl", parts)
  loss = "weighted_dro_v(tau=0.5)"
  found = logged(train(rated, tmp_path / "run", loss=loss, steps=2))
  assert abs(found[2][own_samples.KL]) > 0


def test_a_reference_that_is_gone_is_said_once(
  log, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(own_samples, "_KEPT", -1)
  parent = train(log, tmp_path / "parent", eval_samples=0, steps=1)

  def gone(self):
    raise UserError(f"{parent.folder} is gone")

  monkeypatch.setattr(Run, "_read_reference", gone)
  options = {"model": None, "tokenizer": None, "init": str(parent.folder)}
  run = train(log, tmp_path / "run", **options, eval_samples=None)
  assert not logged(run)
  said = capsys.readouterr().out
  assert said.count("cannot be read") == 1
  assert "parent is gone" in said


PROMPTS = ((Message("user", "hi"),),)
DRO = losses.get("dro_v")


def count(config, loss=DRO, prompts=PROMPTS, untrained=False):
  said = []
  found = own_samples.count(config, loss, prompts, said, untrained=untrained)
  return found, said


def test_by_default_it_is_of_a_reference_that_was_trained():
  config = Config(out="x")
  assert count(config, untrained=True) == (0, [])
  assert count(config) == (16, [])
  assert count(config, prompts=()) == (0, [])
  for loss in ("sft", "bradley_terry", "simpo"):
    assert count(config, losses.get(loss)) == (0, [])
  assert count(dataclasses.replace(config, eval_samples=0)) == (0, [])


def test_several_hosts_have_none():
  config = Config(out="x", hosts=HostsConfig())
  found, (sentence,) = count(config)
  assert found == 0
  assert "is for runs of one process" in sentence
  assert count(config, untrained=True) == (0, [])
  with pytest.raises(UserError, match=r"eval_samples=2 is set, but hosts is"):
    count(dataclasses.replace(config, eval_samples=2))


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"loss": "sft"}, r"eval_samples=3 is set, but loss 'sft' has no referen"),
    (
      {"loss": "bradley_terry", "data__pairs": "all"},
      r"but loss 'bradley_te.*",
    ),
    ({"data__eval_fraction": 0.0}, r"no prompts are held out to complete"),
    ({"eval_samples": -1}, r"eval_samples must be 0 or more, not -1"),
  ],
)
def test_what_cannot_be_measured_is_refused(log, tmp_path, changes, said):
  changes = {"eval_samples": 3} | changes
  with pytest.raises(UserError, match=said):
    Run(runs.config(log, tmp_path / "run", **changes))
