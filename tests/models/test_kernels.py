"""When splash attention serves, and the sentences where it does not."""

import jax
import jax.numpy as jnp
import pytest
import worlds
from packing_cases import packed, rows

from offalign import models
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig, forward
from offalign.models import attending, kernels
from offalign.models.attending import Attend

HEADS = kernels.Heads(4, 2, 16)
LONG = kernels.Shared(4, 600, 2, 100, jnp.bfloat16)


def mesh(data, fsdp, tensor):
  return sharding.make_mesh(
    sharding.MeshConfig(data, fsdp, tensor),
    devices=jax.devices()[: data * fsdp * tensor],
  )


def test_tpus_take_it_for_long_rows(monkeypatch):
  auto = Attend()
  assert not auto.in_one_call(LONG, HEADS)
  monkeypatch.setattr(attending, "platform", lambda: "tpu")
  assert auto.in_one_call(LONG, HEADS)
  assert not auto.in_one_call(LONG._replace(prompt=512), HEADS)
  assert not auto.in_one_call(LONG._replace(dtype=jnp.float64), HEADS)
  assert not Attend("blockwise").in_one_call(LONG, HEADS)
  short = kernels.Shared(1, 2, 1, 2, jnp.float32)
  assert Attend("splash").in_one_call(short, HEADS)


def test_why_not():
  assert kernels.refusal(HEADS, "tpu", None) is None
  assert kernels.refusal(HEADS, "tpu", mesh(1, 2, 2)) is None
  assert "this is a gpu" in kernels.refusal(HEADS, "gpu", None)
  assert "does not divide 2 heads of keys" in kernels.refusal(
    HEADS, "tpu", mesh(1, 1, 4)
  )
  assert "these are of 512" in kernels.refusal(
    HEADS._replace(size=512), "tpu", None
  )
  assert kernels.refused_rows(LONG, mesh(2, 2, 1)) is None
  assert "4 devices do not divide 6" in kernels.refused_rows(
    LONG._replace(rows=6), mesh(2, 2, 1)
  )


def test_where_it_cannot_be_forced():
  forced = LearnerConfig(attention="splash")
  decoder = models.make("decoder(width=8, heads=2)", vocab_size=8)
  with pytest.raises(UserError, match=r"attention=splash .* this is a cpu"):
    Learner("sft", decoder, forced)
  t5 = models.make("t5(width=8, heads=2)", vocab_size=8)
  with pytest.raises(UserError, match="adds no position bias"):
    Learner("sft", t5, forced)
  with pytest.raises(UserError, match="does not choose how"):
    Learner("sft", worlds.table()[0], forced)


def test_packed_rows_are_not_served(monkeypatch):
  monkeypatch.setattr(kernels, "INTERPRETED", True)
  model = models.make("decoder(width=8, heads=2)", vocab_size=13)
  params = jax.eval_shape(model.init, jax.random.key(0))
  with pytest.raises(UserError, match="who sees whom in packed rows is data"):
    jax.eval_shape(
      lambda params: forward.hidden(
        model.attending("splash"), params, packed(rows())
      ),
      params,
    )


def test_what_the_header_says():
  decoder = models.make("decoder(width=8, heads=2)", vocab_size=8)
  t5 = models.make("t5(width=8, heads=2)", vocab_size=8)
  for model, why in ((decoder, "this is a cpu"), (t5, "no position bias")):
    found = attending.why_not(model, mesh(1, 1, 1))
    assert why in found
    assert found in attending.describe("auto", found)
  assert attending.describe("auto", "").endswith("blockwise above")
  assert "it is splash" in attending.describe("auto", None)
  assert "is splash" in attending.describe("splash", None)
