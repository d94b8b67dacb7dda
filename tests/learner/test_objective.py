"""The objective against plain numpy, on completions of many lengths."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import (
  B,
  D,
  T,
  V,
  batch,
  markov,
  objective,
  params_for,
  plain_logps,
  weights,
)

from offalign.distributed import sharding
from offalign.learner.value import ValueConfig
from offalign.losses import registry
from offalign.training.metrics import finish
from offalign.types import Kind


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def test_logps_are_sums_over_the_tokens_under_the_mask():
  rows, policy = batch(), weights(0)
  want = plain_logps(
    policy, rows.prompts, rows.completions, rows.completion_mask
  )
  for options in ({}, {"microbatches": 3}, {"logp_chunk": 2}):
    got = objective("sft", **options).mapped_logps(policy, rows)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_lengths_are_the_tokens_under_the_mask():
  rows, params = batch(), {"policy": weights(0)}
  logps = plain_logps(
    params["policy"], rows.prompts, rows.completions, rows.completion_mask
  )
  lengths = rows.completion_mask.sum(-1)
  z = np.diff(logps / lengths, axis=1)[:, 0]
  simpo = objective("simpo(beta=1, gamma_beta_ratio=0)")
  got, _ = simpo.losses(params, rows, None)
  np.testing.assert_allclose(got, np.log1p(np.exp(z)), rtol=1e-10)
  for spec, used in (("sft", 1), ("sft(on=desirable)", rows.labels)):
    tokens = np.average((used * lengths).mean(axis=1), weights=rows.weight)
    got, _ = objective(spec).losses(params, rows, None)
    want = -(used * logps).mean(axis=1) / tokens
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_kl_term_pairs_each_prompt_with_the_next_rows_completions(
  microbatches,
):
  rows, policy, reference = batch(), weights(0), weights(1)
  real = np.flatnonzero(rows.weight)
  after = np.roll(real, -1)
  pairs = (
    rows.prompts[real],
    rows.completions[after],
    rows.completion_mask[after],
  )
  ratio = plain_logps(policy, *pairs) - plain_logps(reference, *pairs)
  want = np.average(ratio.mean(axis=1), weights=rows.weight[after])
  # Losses see it as it is; its own clamp is the loss's.
  assert abs(want) > 0.01
  for sign, models in ((1, (policy, reference)), (-1, (reference, policy))):
    kto = objective("kto", microbatches=microbatches)
    _, means = kto.losses({"policy": models[0]}, rows, models[1])
    logged = finish({"means": means})["kl"]
    assert logged == pytest.approx(max(sign * want, 0.0), rel=1e-10)


CASES = [
  ("dro_v", None),
  ("dro_v", ValueConfig(per="token")),
  ("dro_v", ValueConfig(per="batch")),
  ("dro_v", ValueConfig("shared", "token")),
  ("dro_v", ValueConfig("shared", "batch")),
  ("simpo", None),
  ("sft", None),
  ("sft(on=desirable)", None),
  ("kto(threshold=batch)", None),
]


@pytest.mark.parametrize(
  ("spec", "value"), CASES, ids=lambda x: str(x) if x else ""
)
def test_gradients_are_those_of_the_weighted_mean(spec, value):
  rows, reference = batch(), weights(1)
  whole = objective(spec, value)
  params = params_for(whole)

  def mean(params):
    row_losses = whole.losses(params, rows, reference)[0]
    return jnp.sum(rows.weight * row_losses) / rows.weight.sum()

  want, total = jax.grad(mean)(params), mean(params)
  trained = (want["policy"], want.get("value", {}).get("head"))
  assert all(np.any(leaf) for leaf in jax.tree.leaves(trained))
  for microbatches in (1, 3):
    cut = dataclasses.replace(whole, microbatches=microbatches)
    got, row_losses, means = jax.jit(cut.grads)(params, rows, reference)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
      got,
      want,
    )
    np.testing.assert_allclose(
      row_losses, whole.losses(params, rows, reference)[0], rtol=1e-10
    )
    assert finish({"means": means})["loss"] == pytest.approx(float(total))


def test_a_token_value_is_the_mean_over_the_completion():
  rows, token = batch(), objective("dro_v", ValueConfig(per="token"))
  params = params_for(token)
  value = jax.device_get(params["value"])
  head, trunk = value["head"], value["trunk"]["embedding"]
  _, means = token.losses(params, rows, None)
  want = np.zeros((B, 2))
  for b, k in np.ndindex(want.shape):
    before = [rows.prompts[b, -1], *rows.completions[b, k][:-1]]
    seen = trunk[np.asarray(before)[rows.completion_mask[b, k]]]
    want[b, k] = (seen @ head["kernel"] + head["bias"]).mean()
  mean = np.average(want.mean(axis=1), weights=rows.weight)
  got = finish({"means": means})["values/mean"]
  assert got == pytest.approx(mean, rel=1e-10)


def test_one_value_for_the_batch_is_the_weighted_mean():
  rows = batch()
  each, one = (
    objective("dro_v", ValueConfig(per=per)) for per in ("example", "batch")
  )
  params = params_for(each)
  head = params["value"]["head"]
  state = params["value"]["trunk"]["embedding"][rows.prompts[:, -1]]
  values = state @ head["kernel"] + head["bias"]
  mean = np.average(values, weights=rows.weight)
  logps = plain_logps(
    params["policy"], rows.prompts, rows.completions, rows.completion_mask
  )
  rest = rows.rewards - (logps - rows.ref_logps)
  for how, v in ((each, values[:, None]), (one, mean)):
    got, _ = how.losses(params, rows, None)
    want = 0.5 * np.square(rest - v).mean(axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_metrics_of_k_completions_are_means_over_those_they_apply_to():
  rows = batch()
  logps = plain_logps(
    weights(0), rows.prompts, rows.completions, rows.completion_mask
  )
  share = np.repeat(rows.weight[:, None], 2, axis=1)
  for microbatches in (1, 4):
    kto = objective("kto(beta=0.5)", microbatches=microbatches)
    _, _, means = kto.grads({"policy": weights(0)}, rows, weights(1))
    got = finish({"means": means})
    for name, where in (("chosen", rows.labels), ("rejected", ~rows.labels)):
      want = np.average(logps[where], weights=share[where])
      assert got[f"logps/{name}"] == pytest.approx(want, rel=1e-10)
      ratio = 0.5 * (logps - rows.ref_logps)[where]
      want = np.average(ratio, weights=share[where])
      assert got[f"rewards/{name}"] == pytest.approx(want, rel=1e-10)
    margin = got["rewards/chosen"] - got["rewards/rejected"]
    assert got["rewards/margins"] == pytest.approx(margin)


def test_a_loss_that_is_no_number_is_not_left_out_of_the_mean():
  rows = batch()
  row = int(np.flatnonzero(rows.weight)[0])
  rows.rewards[row] = np.nan
  dro_v = objective("dro_v")
  _, means = dro_v.losses(params_for(dro_v), rows, None)
  assert np.isnan(finish({"means": means})["loss"])


def test_what_a_loss_does_not_declare_need_not_be_there():
  rows = dataclasses.replace(batch(), rewards=None, labels=None, ref_logps=None)
  sft = objective("sft", microbatches=2)
  grads, _, _ = sft.grads({"policy": weights(0)}, rows, None)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("network", ["separate", "shared"])
def test_activations_are_in_the_compute_dtype_and_the_value_head_is_not(
  network,
):
  seen = []
  model = markov()

  def hidden(params, *args):
    seen.append({str(x.dtype) for x in jax.tree.leaves(params)})
    return model.hidden(params, *args)

  with jax.enable_x64(False):
    dro_v = objective(
      "dro_v", ValueConfig(network, "token"), compute_dtype="bfloat16"
    )
    dro_v = dataclasses.replace(
      dro_v, model=dataclasses.replace(model, hidden=hidden)
    )
    params = jax.tree.map(
      lambda x: jnp.asarray(x, jnp.float32), params_for(dro_v)
    )
    # Below what bfloat16 resolves next to the bias.
    params["value"]["head"] = {
      "kernel": jnp.zeros(D),
      "bias": jnp.asarray(1.0 + 2**-12),
    }
    grads, row_losses, means = dro_v.grads(params, batch(), None)
    assert set().union(*seen) == {"bfloat16"}
    assert {str(g.dtype) for g in jax.tree.leaves(grads)} == {"float32"}
    assert row_losses.dtype == jnp.float32
    assert finish({"means": means})["values/mean"] == 1.0 + 2**-12


def test_logits_exist_for_a_chunk_at_a_time():
  rows, policy = batch(), weights(0)

  def text(chunk):
    score = objective("sft", logp_chunk=chunk).logps
    return str(jax.make_jaxpr(score)(policy, rows))

  assert f"f64[{B},2,{T},{V}]" in text(V)
  assert f"f64[{B},2,{T},{V}]" not in text(2)
  assert f"f64[{B},2,{T},1,2]" in text(2)


def test_a_batch_is_cut_where_it_lies():
  """Microbatches move no row from one device to another."""
  mesh = sharding.make_mesh()
  sft = objective("sft", microbatches=2)
  rows = jax.tree.map(lambda x: np.concatenate([x, x[:4]]), batch())
  placed = sharding.put_batch(mesh, rows)
  double = jax.jit(lambda b: sft._map(lambda piece: 2 * piece.rewards, b))
  text = double.lower(placed).compile().as_text()
  moves = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
  assert not [word for word in moves if word in text]
  np.testing.assert_allclose(double(placed), 2 * rows.rewards)


def test_a_whole_batch_loss_is_given_all_rows_in_order(monkeypatch):
  monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

  @registry.register(
    "ranked",
    kind=Kind.SINGLE,
    needs=("rewards",),
    whole_batch=True,
    paper="-",
    when="-",
    formula="-",
  )
  def ranked(scores):
    assert scores.logps.shape == (B, 2)
    order = jnp.arange(B)[:, None] * scores.rewards
    return (jnp.cumsum(scores.logps, axis=0) * order).mean(axis=1)

  params, rows = {"policy": weights(0)}, batch()
  want = objective("ranked").grads(params, rows, None)
  got = objective("ranked", microbatches=4).grads(params, rows, None)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
    got,
    want,
  )
