"""Bytes of a state that are counted without devices."""

import json

import jax
import pytest
from plans import TINY

from offalign import models
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.learner import LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.models.lora import LoraConfig
from offalign.planning import from_config
from offalign.planning.program import Step, build, bytes_per_device
from offalign.planning.state import State


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2)])
def test_the_state_is_counted_as_training_places_it(
  tmp_path, monkeypatch, sizes, lora
):
  monkeypatch.setattr(sharding, "SMALL", 1)
  (tmp_path / "config.json").write_text(json.dumps(TINY))
  model = from_config.model_of(str(tmp_path))
  config = LearnerConfig(
    lora=lora,
    optimizer=OptimizerConfig(name="adafactor"),
    compute_dtype="bfloat16",
  )
  step = Step("dro_v", config, batch=8, prompt=4, completion=4, k=1)
  mesh = MeshConfig(*sizes)
  program = build(step, model, sharding.make_mesh(mesh))
  params = bytes_per_device(program.state.params)
  expected = 2 * params + bytes_per_device(program.state.opt_state)
  if lora is not None:
    expected += bytes_per_device(program.ref_params)
  state = State("dro_v", model, config)
  assert state.held(mesh) == expected
  assert state.kept(mesh) == expected - params


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
@pytest.mark.parametrize("moves", [True, False])
def test_a_reference_that_each_step_runs_is_counted(tmp_path, lora, moves):
  (tmp_path / "config.json").write_text(json.dumps(TINY))
  model = from_config.model_of(str(tmp_path))
  other = None if moves else models.make("t5", vocab_size=model.vocab_size)
  config = LearnerConfig(lora=lora, compute_dtype="bfloat16")
  step = Step(
    "tdpo2", config, batch=8, prompt=4, completion=4, k=2, moves=moves
  )
  mesh = MeshConfig(8, 1, 1)
  program = build(step, model, sharding.make_mesh(mesh), other)
  jax.eval_shape(
    program.learner.step,
    program.state,
    program.batch,
    program.ref_params,
    None,
    program.reference,
  )
  trees = program.ref_params, program.reference, program.idle
  frozen, beside, idle = map(bytes_per_device, trees)
  params = bytes_per_device(program.state.params)
  if moves:  # an earlier policy, or its adapters in the compute dtype
    assert beside == (params if lora is None else params // 2)
  assert (idle > 0) == (moves and lora is None)
  assert (frozen > 0) == (lora is not None)
  state = State("tdpo2", model, config, other, moves=moves)
  opt_state = bytes_per_device(program.state.opt_state)
  assert state.held(mesh) == 2 * params + opt_state + frozen + beside + idle


def eight_billion(**options):
  model = from_config.model_of("meta-llama/Meta-Llama-3-8B")
  return State("sft", model, LearnerConfig(**options))


def test_what_is_sent_is_flat_where_only_copies_are_added():
  state = eight_billion(compute_dtype="bfloat16")
  size, sent = 2 * 8.030e9, []
  for devices in (16, 64, 256, 1024):
    found = state.sent(MeshConfig(devices // 8, 8, 1))
    copies = devices // 8
    # Two gathers and a scatter of 7/8, and the sum of an eighth over copies.
    expected = size * (3 * 7 / 8 + 2 / 8 * (copies - 1) / copies)
    assert found == pytest.approx(expected, rel=1e-3)
    sent.append(found)
  assert max(sent) < 1.05 * min(sent)
  assert state.sent(MeshConfig(8, 8, 1), 0, 4) == 4 * sent[1]
  # The TPU's compiler sends 47.0 GB on 256 chips of v5p.
  assert sent[2] == pytest.approx(47.03e9, rel=0.03)


def test_tensor_sends_the_stream_of_its_rows():
  state = eight_billion(compute_dtype="bfloat16")
  alone = state.sent(MeshConfig(1, 8, 2))
  tokens = 64 * 768
  # 32 layers, four sums each of what a device's rows have, both ways of 1/2.
  stream = 4 * 32 * (tokens / 8 * 4096 * 2) * 2 * 1 / 2
  assert state.sent(MeshConfig(1, 8, 2), tokens) - alone == stream
  whole = MeshConfig(1, 8, 1)
  assert state.sent(whole, tokens) == state.sent(whole)


def test_frozen_weights_send_no_gradients():
  state = eight_billion(compute_dtype="bfloat16", lora=LoraConfig(rank=1))
  size = 2 * 8.030e9
  assert state.sent(MeshConfig(2, 8, 1)) == pytest.approx(
    2 * 7 / 8 * size, rel=0.01
  )
