"""Losses, their metrics and their gradients know nothing of packing."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from sequences import batch, objective, packed, params_for, weights

from offalign import losses
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.types import Kind

CASES = [
  ("dpo", None),
  ("ld_dpo", None),  # beginnings of completions
  ("wpo", None),  # how sure the policy is of each token
  ("aot", None),  # all rows at once
  ("dro_v", None),
  ("dro_v", ValueConfig(per="token")),
  ("dro_v", ValueConfig("shared")),
  ("dro_v", ValueConfig("shared", "batch")),
  ("bradley_terry", ValueConfig(per="completion")),
  ("kto", None),  # prompts with the completions of the next row
  ("bco", None),  # a state
  ("pl_dpo", None),  # a group
]
CUTS = (1, 1), (3, 1), (2, 3)
"""Shards and microbatches."""


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


@pytest.mark.parametrize(
  ("spec", "value"), CASES, ids=lambda x: str(x) if x else ""
)
def test_nothing_changes(spec, value):
  loss = losses.get(spec)
  k = 3 if loss.kind is Kind.GROUP else 2
  rows = batch(k)
  if "ref_prefix_logps" in loss.needs:
    rows = dataclasses.replace(rows, ref_prefix_logps=rows.ref_logps / 2)
  plain = objective(spec, value)
  params, reference = params_for(plain), weights(1)
  state = loss.init_state() if loss.has_state else None

  @functools.partial(jax.jit, static_argnums=0)
  def step(objective, rows):
    after = objective.next_state(params, rows, reference, state)
    return after, objective.grads(params, rows, reference, after)

  want_state, (want, want_losses, want_means) = step(plain, rows)
  same = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)
  counts = rows.weight > 0
  for shards, microbatches in CUTS if spec == "dpo" else CUTS[-1:]:
    cut = dataclasses.replace(plain, microbatches=microbatches)
    got_state, (got, got_losses, got_means) = step(
      cut, packed(rows, shards, microbatches)
    )
    jax.tree.map(same, got_state, want_state)
    jax.tree.map(same, got, want)
    same(got_losses[counts], want_losses[counts])
    jax.tree.map(same, got_means, want_means)


def test_references_that_a_batch_lacks_are_scored_packed():
  rows, reference = batch(), weights(1)
  for spec in ("kto", "ld_dpo"):
    plain = objective(spec)
    params = params_for(plain)
    want, _ = jax.jit(plain.losses)(params, rows, reference)
    cut = dataclasses.replace(plain, microbatches=2)
    host = packed(rows, 1, 2)
    got, _ = jax.jit(cut.losses)(params, host, reference)
    counts = rows.weight > 0
    np.testing.assert_allclose(got[counts], want[counts], rtol=1e-8)


def test_what_was_packed_for_other_microbatches_is_refused():
  dpo = objective("dpo", microbatches=2)
  with pytest.raises(UserError, match=r"packed for 3 microbatch\(es\) cannot"):
    dpo.losses(params_for(dpo), packed(batch(), 1, 3), None)


def test_a_model_that_cannot_says_so():
  dro_v = objective("dro_v")
  model = dataclasses.replace(
    dro_v.model, hidden_packed=None, prompt_state_packed=None
  )
  dro_v = dataclasses.replace(dro_v, model=model)
  with pytest.raises(UserError, match=r"^markov cannot run packed batches"):
    dro_v.losses(params_for(dro_v), packed(batch(), 1, 1), None)


def test_packed_tokens_stay_where_they_are():
  """Neither microbatches nor rows move a token to another device."""
  mesh = sharding.make_mesh()
  rows = jax.tree.map(lambda x: np.concatenate([x, x[:4]]), batch())
  host = packed(rows, mesh.size, 2)
  sft, policy = objective("sft", microbatches=2), weights(0)
  score = jax.jit(sft.mapped_logps)
  placed = sharding.put_batch(mesh, host)
  text = score.lower(policy, placed).compile().as_text()
  moves = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
  assert not [word for word in moves if word in text]
  counts = rows.weight > 0
  np.testing.assert_allclose(
    score(policy, placed)[counts], score(policy, rows)[counts], rtol=1e-10
  )
