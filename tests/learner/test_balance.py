"""The load-balancing loss is one of the global batch, however it is cut."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import losses, models
from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.shape import fit
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig, balance
from offalign.learner.objective import Objective
from offalign.models import functions
from offalign.models.base import Routed, Routing
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.models.decoder.decoder import Decoder
from offalign.models.lora import LoraConfig
from offalign.types import Batch

B, K, P, T, V = 8, 2, 4, 3, 11
WEIGHT = 0.5
CONFIG = DecoderConfig(
  vocab_size=V,
  width=8,
  layers=2,
  heads=2,
  gated=True,
  experts=Mixture(4, 2, 6, balance=WEIGHT),
)


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def model(config=CONFIG):
  return functions.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="tiny",
    vocab_size=V,
    width=config.width,
  )


def rows():
  rng = np.random.default_rng(0)
  ends = rng.integers(1, P + 1, (B, 1))
  weight = np.ones(B, np.float32)
  weight[-1] = 0
  return Batch(
    prompts=rng.integers(0, V, (B, P)).astype(np.int32),
    prompt_mask=np.arange(P) < ends,
    completions=rng.integers(0, V, (B, K, T)).astype(np.int32),
    completion_mask=np.arange(T) < rng.integers(1, T + 1, (B, K, 1)),
    weight=weight,
    ref_logps=rng.normal(-7, 1, (B, K)).astype(np.float32),
  )


@functools.cache
def first():
  params = jax.jit(model().init)(jax.random.key(0))
  return {"policy": jax.tree.map(lambda x: 3 * np.asarray(x), params)}


def objective(loss="dpo", **options):
  options = {"balance": WEIGHT, "value": None, "model": model()} | options
  return Objective(loss=losses.get(loss), **options)


@functools.cache
def whole():
  return jax.device_get(jax.jit(objective().grads)(first(), rows(), None))


def close(a, b, rtol=1e-6, atol=1e-9):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b
  )


def ratio(means):
  total, weight = means["aux_loss"]
  return float(total / weight)


@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_change_nothing(microbatches):
  cut = objective(microbatches=microbatches)
  close(jax.jit(cut.grads)(first(), rows(), None), whole())


def test_it_is_no_mean_of_microbatches():
  """Else the test above would prove nothing."""
  parts = [jax.tree.map(lambda x, i=i: x[i::4], rows()) for i in range(4)]
  grads = jax.jit(objective().grads)
  each = [ratio(grads(first(), part, None)[2]) for part in parts]
  assert abs(np.mean(each) - ratio(whole()[2])) > 0.01


def test_packing_changes_nothing():
  batch = rows()
  prompt, completion = lengths(batch)
  groups = members(B, shards=1, microbatches=2)
  shape = fit(prompt[groups], completion.sum(1)[groups], 2)
  packed = dataclasses.replace(
    batch, packed=pack(batch, shape, shards=1, microbatches=2)
  )
  cut = objective(microbatches=2)
  grads, _, means = jax.jit(cut.grads)(first(), packed, None)
  close((grads, means), (whole()[0], whole()[2]))


def test_a_shared_prompt_counts_for_each_completion():
  batch = rows()
  apart = Batch(
    prompts=batch.prompts.repeat(K, 0),
    prompt_mask=batch.prompt_mask.repeat(K, 0),
    completions=batch.completions.reshape(B * K, 1, T),
    completion_mask=batch.completion_mask.reshape(B * K, 1, T),
    weight=batch.weight.repeat(K),
  )
  one, other = (
    jax.jit(objective("sft").grads)(first(), each, None)
    for each in (batch, apart)
  )
  close(one[0], other[0])
  assert ratio(one[2]) == pytest.approx(ratio(other[2]), rel=1e-5)


def test_padding_and_rows_of_no_weight_do_not_count():
  batch = rows()
  void = batch.weight == 0
  changed = dataclasses.replace(
    batch,
    prompts=np.where(batch.prompt_mask & ~void[:, None], batch.prompts, 3),
    completions=np.where(
      batch.completion_mask & ~void[:, None, None], batch.completions, 3
    ),
  )
  assert (changed.prompts != batch.prompts).any()
  got = jax.jit(objective().grads)(first(), changed, None)
  assert ratio(got[2]) == pytest.approx(ratio(whole()[2]), rel=1e-5)


def test_the_gradient_is_that_of_the_loss_with_fixed_shares():
  """f_e has no gradient, and the loss itself is that of dense models."""
  alone = jax.jit(objective(balance=0.0).grads)(first(), rows(), None)
  assert "aux_loss" not in alone[2]
  close(alone[1], whole()[1])
  close(alone[2]["loss"], whole()[2]["loss"])
  extra = jax.tree.map(
    lambda a, b: (a - b) / WEIGHT, whole()[0]["policy"], alone[0]["policy"]
  )
  one = model()
  counted = balance.counted(rows())
  given = rows().prompts, rows().prompt_mask
  given += rows().completions, rows().completion_mask, counted

  def fixed(policy):
    _, routed = one.routing.hidden(policy, *given)
    n = routed.counts.sum() / 2
    return 4 * jnp.sum(routed.counts / n * routed.mass / n)

  close(jax.jit(jax.grad(fixed))(first()["policy"]), extra)


def test_balanced_routers_lose_k():
  routing = Routing(4, 2, 0.1, lambda: None, lambda: None)
  even = Routed(jnp.full(4, 6.0), jnp.full(4, 3.0))
  assert float(balance.loss(routing, even)) == pytest.approx(2)
  one = Routed(jnp.asarray([12.0, 12, 0, 0]), jnp.asarray([6.0, 6, 0, 0]))
  assert float(balance.loss(routing, one)) == pytest.approx(4)


@pytest.mark.parametrize(
  "shape", [{"fsdp": 4}, {"fsdp": 2, "tensor": 2}], ids=str
)
def test_the_mesh_changes_nothing(shape, monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)

  def stepped(mesh):
    learner = Learner("dpo", model(), LearnerConfig(microbatches=1), mesh)
    state = learner.init(first()["policy"])
    for _ in range(2):
      state, metrics = learner.train_step(
        state, sharding.put_batch(mesh, rows())
      )
    return jax.device_get((state.params, metrics["means"]))

  one = stepped(sharding.make_mesh(devices=jax.devices()[:1]))
  many = stepped(sharding.make_mesh(sharding.MeshConfig(**shape)))
  close(one, many, 1e-5, 1e-8)


def test_adapters_learn_it_and_experts_stay():
  learner = Learner(
    "dpo",
    model(),
    LearnerConfig(lora=LoraConfig(rank=2)),
    sharding.make_mesh(devices=jax.devices()[:1]),
  )
  state = learner.init(first()["policy"])
  assert set(state.params["policy"]["layers"]) == {
    "query",
    "key",
    "value",
    "out",
  }
  state, metrics = learner.train_step(state, rows(), first()["policy"])
  assert ratio(metrics["means"]) == pytest.approx(ratio(whole()[2]), rel=1e-5)


def test_the_weight_is_the_checkpoints_unless_given():
  def weight(given, loss="dpo"):
    config = LearnerConfig(router_aux_loss_coef=given)
    return Learner(loss, model(), config)._objective.balance

  assert weight(None) == WEIGHT
  assert weight(0.25) == 0.25
  assert weight(0) == 0
  assert weight(None, "bradley_terry") == 0


@pytest.mark.parametrize(
  ("given", "loss", "error"),
  [
    (-1.0, "dpo", "router_aux_loss_coef must be 0 or more, not -1.0"),
    (float("nan"), "dpo", "router_aux_loss_coef must be finite"),
    (0.1, "bradley_terry", "a reward model, whose experts are not balanced"),
  ],
)
def test_a_weight_that_cannot_be(given, loss, error):
  with pytest.raises(UserError, match=error):
    Learner(loss, model(), LearnerConfig(router_aux_loss_coef=given))


def test_a_model_without_experts_has_nothing_to_balance():
  dense = models.make("decoder", vocab_size=V)
  with pytest.raises(UserError, match="has no experts to balance"):
    Learner("dpo", dense, LearnerConfig(router_aux_loss_coef=0.1))


def test_a_step_is_that_of_transformers(tmp_path):
  """Its loss, and gradients of DPO with the load-balancing loss added."""
  torch = pytest.importorskip("torch", reason="needs offalign[parity]")
  pytest.importorskip("transformers", reason="needs offalign[parity]")
  from transformers.models.qwen3_moe import modeling_qwen3_moe as theirs_lib

  from benchmarks import parity, parity_decoders, parity_torch
  from offalign.models import hf

  theirs = parity_decoders.build("qwen 3 moe", tmp_path)
  names = parity_decoders.weights(theirs)
  assert any(name.endswith("mlp.gate.weight") for name in names)
  batch = parity.batch(theirs.config.vocab_size)
  dpo = parity_torch.dpo(theirs, batch, names)["policy"]
  seen = [
    theirs(
      input_ids=torch.tensor(
        np.concatenate([prompt, ids[: mask.sum()]])[None].astype(np.int64)
      ),
      output_router_logits=True,
    ).router_logits
    for prompt, group, masks in zip(
      parity_torch.prompts(batch),
      batch.completions,
      batch.completion_mask,
      strict=True,
    )
    for ids, mask in zip(group, masks, strict=True)
  ]
  layers = tuple(torch.cat(layer) for layer in zip(*seen, strict=True))
  aux = theirs_lib.load_balancing_loss_func(layers, 6, 2)
  theirs.zero_grad()
  aux.backward()
  extra = {n: w.grad for n, w in theirs.named_parameters() if n in names}
  loaded, params = hf.load(tmp_path)
  assert loaded.routing.balance == 0.001
  ours = objective(
    f"dpo(beta={parity_torch.BETA})", model=loaded, balance=WEIGHT
  )
  grads, _, means = jax.jit(ours.grads)({"policy": params}, batch, None)
  assert ratio(means) == pytest.approx(float(aux.detach()), rel=1e-5)
  tensors = parity._as_tensors(tmp_path, params, grads["policy"])
  for name in names:
    more = 0.0 if extra[name] is None else extra[name].numpy()
    want = dpo[name] + WEIGHT * more
    error = np.abs(tensors[name] - want).max() / np.abs(want).max()
    assert error <= 1e-4, name
