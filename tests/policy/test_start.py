"""Where a run starts from: nothing, or another run's policy."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.policy import start
from offalign.policy.checkpoint import Checkpoints
from offalign.reference import store
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
FROM = {"model": None, "tokenizer": None}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
  """Where finished runs are kept for the tests of this file."""
  return tmp_path_factory.mktemp("parents")


@pytest.fixture
def parent(parents, log, tmp_path):
  """The folder of an SFT run of two steps; a copy, to do with as one likes."""
  trained = parents / "sft"
  if not trained.exists():
    runs.train(log, trained, loss="sft", steps=2)
  return shutil.copytree(trained, tmp_path / "sft")


def refused(log, tmp_path, **changes):
  with pytest.raises(UserError) as error:
    Run(runs.config(log, tmp_path / "out", **{**FROM, **changes}))
  return runs.in_flags(error.value)


@pytest.mark.slow
def test_the_policy_and_the_reference_are_the_parents(log, parent, tmp_path):
  before = runs.contents(parent)
  run = runs.train(log, tmp_path / "out", init=str(parent), steps=2, **FROM)
  assert runs.contents(parent) == before
  first, *_, last = runs.metrics(run.folder)
  assert first["eval_rewards/margins"] == 0.0
  assert first["eval_rewards/accuracies"] == 0.5
  assert last["eval_rewards/margins"] != 0.0
  about = json.loads((run.folder / "run.json").read_text())
  assert about["model"] == runs.DECODER
  assert about["start"].startswith(f"{parent} at step 2, weights ")
  stored = store.Store(run.folder / "reference", about["start"]).known
  # A fresh policy of the same seed gives other log-probs.
  began = json.loads((parent / "run.json").read_text())["start"]
  fresh = store.Store(parent / "reference", began).known
  both = stored.keys() & fresh.keys()
  assert both
  assert all(stored[key] != fresh[key] for key in both)


@pytest.mark.slow
def test_a_parent_that_was_trained_on_is_another_start(log, parent, tmp_path):
  out = tmp_path / "out"
  given = {"init": str(parent), **FROM}
  runs.train(log, out, steps=2, **given)
  runs.train(log, parent, loss="sft", steps=4)
  before = runs.contents(out)
  with pytest.raises(UserError, match=r"was begun with another starting polic"):
    Run(runs.config(log, out, steps=4, **given))
  assert runs.contents(out) == before


@pytest.mark.slow
def test_a_parent_brings_its_model_and_tokenizer(log, parent, tmp_path):
  init = f"--cfg.init={parent}"
  for name, value in (
    ("model", "decoder(width=32)"),
    ("tokenizer", "bpe"),
    ("tokenizer_vocab", 300),
  ):
    assert refused(log, tmp_path, init=str(parent), **{name: value}) == (
      f"--cfg.{name}={value} is set beside {init}, whose model is "
      f"{runs.DECODER} with its own tokenizer; leave it out"
    )
  said = refused(log, tmp_path, init=str(parent), model="decodr")
  assert said.startswith("--cfg.model: there is no model 'decodr'; did you ")
  same = runs.config(log, tmp_path / "out", init=str(parent), tokenizer=None)
  assert same.model == runs.DECODER
  assert start.find_parent(same).step == 2


@pytest.mark.slow
def test_a_parent_that_is_not_whole_is_refused(log, parent, tmp_path):
  init = {"init": str(parent)}
  about = json.loads((parent / "run.json").read_text())

  def rewrite(**changes):
    (parent / "run.json").write_text(json.dumps({**about, **changes}))

  rewrite(model="decoder(width=32, layers=1, heads=2)")
  said = refused(log, tmp_path, **init)
  assert said.startswith("the checkpoint at step 2 in ")
  assert "is (262, 16), this model's (262, 32); give the model " in said

  (parent / "run.json").write_text("{}")
  assert refused(log, tmp_path, **init) == (
    f"{parent}/run.json has no 'config'; is it a run's?"
  )
  (parent / "run.json").write_text("{")
  assert refused(log, tmp_path, **init).startswith(
    f"{parent}/run.json is not JSON ("
  )
  rewrite()
  shutil.rmtree(parent / "checkpoints" / "2")
  assert refused(log, tmp_path, **init) == (
    f"--cfg.init={parent} has no complete checkpoint; train it further, or "
    "name another run"
  )
  (parent / "run.json").unlink()
  assert refused(log, tmp_path, **init) == (
    f"--cfg.init={parent} is not a run folder: it has no run.json; name the "
    "--cfg.out of an earlier run"
  )
  assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_parent_is_read_onto_any_mesh(log, parent):
  """Sharded or not, the same bits, and the same name for them."""
  config = runs.config(log, "out", init=str(parent), **FROM)
  found = start.find_parent(config)
  whole = start.policy(config, found, 262, sharding.make_mesh())
  mesh = sharding.make_mesh(MeshConfig(fsdp=4), jax.devices())
  split = start.policy(config, found, 262, mesh)
  assert split[2] == whole[2]
  chex.assert_trees_all_equal(*jax.device_get((split[1], whole[1])))
  table = split[1]["embedding"]["table"]
  assert table.sharding.spec == jax.P(None, "fsdp")  # 262 does not split
  with Checkpoints(parent) as checkpoints:
    assert checkpoints.latest == 2


def test_a_digest_changes_with_any_bit_and_any_place():
  params = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"c": jnp.ones(4)}}
  first = start.digest(params)
  assert first == start.digest(jax.tree.map(jnp.copy, params))
  up = np.nextafter(np.float32(1), np.float32(2))
  others = [
    {**params, "b": {"c": params["b"]["c"].at[2].set(up)}},
    {**params, "a": params["a"].at[0].set(params["a"][0, ::-1])},
    {**params, "a": -params["a"]},
    {"a": params["a"][::-1], "b": params["b"]},
  ]
  digests = [start.digest(other) for other in others]
  assert len({first, *digests}) == 5
