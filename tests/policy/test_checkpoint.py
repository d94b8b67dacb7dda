"""Checkpoints: whole or not there, and only of the model they are read for."""

import shutil

import chex
import numpy as np
import orbax.checkpoint as ocp
import pytest
import runs
from jax.errors import JaxRuntimeError
from states import state

from offalign.errors import UserError
from offalign.files import Unwritten
from offalign.learner import TrainState
from offalign.policy.checkpoint import Checkpoints


def test_the_window_comes_back_to_the_bit(tmp_path):
  window = [{"loss": 0.1 + 0.2, "grad_norm": 1 / 3}, {"loss": 1e-300}]
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(state(2), {}, window)
    assert checkpoints.window() == window
    checkpoints.save(state(4), {})
    assert checkpoints.window() == []


@pytest.fixture
def saved(tmp_path):
  """A folder with the states of steps 2 and 4."""
  with Checkpoints(tmp_path, keep=3) as checkpoints:
    for step in (2, 4):
      checkpoints.save(state(step), {"step": step})
  return tmp_path


def test_what_was_saved_comes_back(saved):
  with Checkpoints(saved, keep=3) as checkpoints:
    assert checkpoints.latest == 4
    assert checkpoints.about() == {"step": 4}
    restored = checkpoints.restore(state())
    policy = checkpoints.restore_policy(state().params["policy"])
    earlier = checkpoints.restore_policy(state().params["policy"], 2)
  chex.assert_trees_all_equal(earlier, policy)
  chex.assert_trees_all_equal(restored, state(4))
  chex.assert_trees_all_equal(policy, state(4).params["policy"])
  assert isinstance(restored.opt_state["policy"], tuple)


def test_a_step_is_saved_once(saved):
  before = runs.contents(saved)
  with Checkpoints(saved, keep=3) as checkpoints:
    checkpoints.save(state(4), {"step": "again"})
  assert runs.contents(saved) == before


@pytest.mark.parametrize("call", ["save", "wait_until_finished"])
@pytest.mark.parametrize(
  ("error", "raised"),
  [(ValueError("No space left"), Unwritten), (JaxRuntimeError("gone"), None)],
)
def test_a_process_that_has_gone_is_no_fault_of_the_disk(
  tmp_path, monkeypatch, call, error, raised
):
  def fails(*_, **__):
    raise error

  kept = Checkpoints(tmp_path, keep=1)
  with kept as checkpoints, monkeypatch.context() as broken:
    broken.setattr(ocp.CheckpointManager, call, fails)
    with pytest.raises(raised or JaxRuntimeError):
      checkpoints.save(state(2), {})


def test_the_oldest_make_room(tmp_path):
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(state(step), {})
  steps = {path.name for path in (tmp_path / "checkpoints").iterdir()}
  assert steps == {"2", "3"}


def test_what_was_not_finished_is_not_there(saved):
  folder = saved / "checkpoints"
  half = folder / "6.orbax-checkpoint-tmp"
  shutil.copytree(folder / "4", half)
  with Checkpoints(saved) as reader:
    assert reader.latest == 4
  assert half.exists()
  with Checkpoints(saved, keep=3) as writer:
    assert writer.latest == 4
    chex.assert_trees_all_equal(writer.restore(state()), state(4))
    writer.save(state(6), {})
    assert writer.latest == 6
  assert not half.exists()


def test_reading_changes_nothing(saved, tmp_path_factory):
  before = runs.contents(saved)
  with Checkpoints(saved) as checkpoints:
    checkpoints.restore_policy(state().params["policy"])
  assert runs.contents(saved) == before
  empty = tmp_path_factory.mktemp("empty")
  with Checkpoints(empty) as checkpoints:
    assert checkpoints.latest is None
  assert not list(empty.iterdir())


@pytest.mark.parametrize(
  ("template", "sentence"),
  [
    (
      state(width=5),
      r"its policy\['head'\]\['kernel'\] is \(2, 3\), this model's \(2, 5\)",
    ),
    (
      TrainState(0, {"policy": {"other": np.zeros(2)}}, {}),
      r"its policy\['head'\]\['kernel'\] is \(2, 3\), this model's absent",
    ),
  ],
)
def test_another_model_is_refused(template, sentence, saved):
  before = runs.contents(saved)
  with Checkpoints(saved, keep=3) as checkpoints:
    with pytest.raises(UserError) as error:
      checkpoints.restore(template)
    with pytest.raises(UserError):
      checkpoints.restore_policy(template.params["policy"])
  assert error.match(
    f"^the checkpoint at step 4 in .* another model: {sentence}"
  )
  assert error.match("give the model it was made with, or another folder$")
  assert runs.contents(saved) == before


def test_files_that_were_damaged_are_named(saved):
  for path in (saved / "checkpoints" / "4" / "policy").rglob("*"):
    if path.is_file() and path.parent.name == "d":
      path.write_bytes(b"")
  with (
    Checkpoints(saved, keep=3) as checkpoints,
    pytest.raises(UserError, match=r"^the checkpoint at step 4 .* cannot be"),
  ):
    checkpoints.restore(state())
