"""A run whose mesh is chosen: kept in run.json, and on resume."""

import dataclasses
import json

import pytest
import runs

from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.training import auto_mesh
from offalign.training.run import Run, learner_config

AUTO = MeshConfig(auto=True)


def test_the_choice_is_said_kept_and_kept_again(tmp_path, monkeypatch):
  log = runs.write_log(tmp_path / "log.jsonl")
  out = tmp_path / "run"
  # The state of some 10,000 weights takes 16 bytes each.
  monkeypatch.setattr(auto_mesh, "memory", lambda: 600e3)
  config = runs.config(
    log, out, loss="sft", steps=1, data__eval_fraction=0.0, mesh=AUTO
  )
  first = Run(config)
  mesh = first.learner.mesh.shape
  assert mesh["fsdp"] in (2, 4)
  assert mesh["data"] * mesh["fsdp"] == 8
  out.mkdir()
  first._begin_folder()  # all of its training but the steps
  said = "\n".join(first._said)
  spelled = f"data={mesh['data']},fsdp={mesh['fsdp']}"
  assert f"mesh: chose {spelled} (its state takes" in said
  assert "of 0.0006 GB a device)" in said
  about = json.loads((out / "run.json").read_text())
  assert about["mesh"] == dict(mesh)

  # Other memory chooses another mesh, but not for a run that goes on.
  monkeypatch.setattr(auto_mesh, "memory", lambda: 600e6)
  again = dataclasses.replace(config, steps=4)
  run = Run(again)
  assert run.learner.mesh.shape == mesh
  assert f"mesh: {spelled}, as this run chose before" in run._said
  assert run._about["mesh"] == dict(mesh)

  def chosen(known):
    return auto_mesh.choose(
      again, learner_config(again), run.learner.model, known
    )

  assert chosen(None)[0] == MeshConfig(8, 1, 1)
  assert chosen(run._about)[0] == MeshConfig(**mesh)
  # A choice for other devices than there are now is made anew, and said.
  was = {"mesh": {"data": 2, "fsdp": 2, "tensor": 1}}
  found, said = chosen(was)
  assert found == MeshConfig(8, 1, 1)
  assert "since data=2,fsdp=2, chosen before, no longer fits" in said
  assert chosen({"mesh": {"data": "8"}})[0] == found
  monkeypatch.setattr(auto_mesh, "memory", lambda: 10e3)
  with pytest.raises(UserError, match=r"mesh\.auto=true: no mesh of 8 device"):
    chosen(None)


@pytest.mark.parametrize("sizes", [{"data": 8}, {"fsdp": 2}, {"tensor": 2}])
def test_a_size_beside_auto_is_refused(sizes):
  (name,) = sizes
  with pytest.raises(UserError, match=f"mesh.{name}=. is set beside mesh.auto"):
    MeshConfig(auto=True, **sizes)


def test_a_cpu_has_its_share_of_the_host():
  assert 1e7 < auto_mesh.memory() < 1e13
