"""A small model of sequences, rows for it, and its log-probs by a loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from offalign import losses
from offalign.data.batches.batch import next_valid
from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.shape import fit
from offalign.learner.objective import Objective
from offalign.learner.value import choose, init
from offalign.models import packed as packing
from offalign.models.base import Hidden, Model
from offalign.types import Batch

B, P, T, V, D = 12, 3, 5, 7, 4


def markov():
  """Each token depends on the one before it alone."""

  def state(params, prompts, prompt_mask):
    return params["embedding"][prompts[:, -1]]

  def hidden(params, prompts, prompt_mask, completions, completion_mask):
    b, k, _ = completions.shape
    last = jnp.broadcast_to(prompts[:, None, -1:], (b, k, 1))
    before = jnp.concatenate([last, completions[..., :-1]], axis=2)
    prompt = state(params, prompts, prompt_mask)
    return Hidden(prompt, params["embedding"][before])

  def state_packed(params, packed):
    states = params["embedding"][packed.prompts]
    return packing.pick(packed, states, packed.prompt_end)

  def hidden_packed(params, packed):
    rows = jnp.concatenate([packed.prompts, packed.completions], axis=2)
    before = jnp.take_along_axis(rows, packed.before, axis=2)
    return Hidden(state_packed(params, packed), params["embedding"][before])

  return Model(
    spec="markov",
    vocab_size=V,
    width=D,
    init=lambda rng: {},
    hidden=hidden,
    prompt_state=state,
    unembedding=lambda params: params["head"],
    prefill=lambda *args: None,
    decode=lambda *args: None,
    hidden_packed=hidden_packed,
    prompt_state_packed=state_packed,
  )


def weights(seed):
  rng = np.random.default_rng(seed)
  return {
    "embedding": jnp.asarray(rng.normal(size=(V, D))),
    "head": jnp.asarray(rng.normal(size=(D, V))),
  }


def batch(k=2, seed=0):
  """Rows of many lengths and weights, some of them 0, in no order."""
  rng = np.random.default_rng(seed)
  weight = rng.permutation([0, 0, 0, 1, 1, 1, 1, 1, 0.5, 0.25, 2, 3.0])
  return Batch(
    prompts=rng.integers(0, V, (B, P)),
    prompt_mask=np.ones((B, P), bool),
    completions=rng.integers(0, V, (B, k, T)),
    completion_mask=np.arange(T) < rng.integers(1, T + 1, (B, k, 1)),
    weight=weight,
    rewards=rng.normal(size=(B, k)),
    labels=rng.random((B, k)) > 0.5,
    ref_logps=rng.normal(size=(B, k)) - 8,
  )


def packed(rows, shards, microbatches):
  """The rows, packed, also with the completions of the next."""
  cut = {"shards": shards, "microbatches": microbatches}
  after = next_valid(rows.weight)
  mismatched = dataclasses.replace(
    rows,
    completions=rows.completions[after],
    completion_mask=rows.completion_mask[after],
    weight=rows.weight[after],
  )
  groups = members(len(rows.weight), **cut)

  def of(rows):
    prompt, completion = lengths(rows)
    shape = fit(prompt[groups], completion.sum(1)[groups], 2)
    return pack(rows, shape, **cut)

  return dataclasses.replace(
    rows, packed=of(rows), packed_mismatched=of(mismatched)
  )


def plain_logps(params, prompts, completions, mask):
  """[B, K] by a loop over tokens."""
  table = np.asarray(params["embedding"] @ params["head"])
  table = table - np.log(np.exp(table).sum(-1, keepdims=True))
  out = np.zeros(completions.shape[:2])
  for b, k in np.ndindex(out.shape):
    before = prompts[b, -1]
    for token in completions[b, k][mask[b, k]]:
      out[b, k] += table[before, token]
      before = token
  return out


def params_for(objective):
  policy = weights(0)
  if objective.value is None:
    return {"policy": policy}
  value = jax.tree.map(
    lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape),
    init(objective.value, objective.model, policy),
  )
  return {"policy": policy, "value": value}


def objective(spec, value=None, **options):
  loss = losses.get(spec)
  if loss.needs_value:
    value = choose(value, loss)
  return Objective(loss, markov(), value, **options)
