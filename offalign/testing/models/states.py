"""Contracts of a model's states: what they depend on, and what they do not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.shape import fit
from offalign.learner import forward
from offalign.models import logps
from offalign.models.base import Model
from offalign.testing.losses.inputs import require
from offalign.testing.models.case import B, Case, K, P, T, V, close
from offalign.types import Batch, Params


def shapes(case: Case) -> None:
  """States and the unembedding have the shapes that `Model` says."""
  hidden, d = case.hidden(), case.model.width
  unembedding = case.model.unembedding(case.params)
  found = hidden.prompt.shape, hidden.completions.shape, unembedding.shape
  wanted = (B, d), (B, K, T, d), (d, V)
  require(found == wanted, f"shapes are {found}, not {wanted}")


def causality(case: Case) -> None:
  """A token changes no state up to its own place, and every later one."""
  before = case.hidden().completions
  for t in range(T):
    changed = case.rows["completions"].copy()
    changed[..., t] = _other(changed[..., t])
    after = case.hidden(completions=changed).completions
    upto = np.s_[:, :, : t + 1]
    require(
      close(before[upto], after[upto]),
      f"completion token {t} changes a state at or before its place",
    )
    for later in range(t + 1, T):
      state = np.s_[:, :, later]
      require(
        not close(before[state], after[state]),
        f"completion token {t} does not change the state of token {later}",
      )


def completions_apart(case: Case) -> None:
  """Completions of a prompt do not see each other."""
  changed = case.rows["completions"].copy()
  changed[:, 1] = _other(changed[:, 1])
  before, after = case.hidden(), case.hidden(completions=changed)
  require(
    close(before.completions[:, ::2], after.completions[:, ::2]),
    "a completion changes the states of another",
  )
  require(
    not close(before.completions[:, 1], after.completions[:, 1]),
    "a completion does not change its own states",
  )
  require(
    close(before.prompt, after.prompt), "a completion changes the prompt's"
  )


def completion_padding(case: Case) -> None:
  """K completions are each alone, and padding on their right is inert."""
  together, room = case.hidden(), ((0, 0), (0, 0), (0, 4))
  for k in range(K):
    one = np.s_[:, k : k + 1]
    words, mask = case.rows["completions"], case.rows["completion_mask"]
    alone = case.hidden(
      completions=np.pad(words[one], room, constant_values=k),
      completion_mask=np.pad(mask[one], room),
    )
    require(
      close(alone.completions[:, :, :T], together.completions[one])
      and close(alone.prompt, together.prompt),
      f"completion {k} has other states with padding and without the others",
    )


def prompt_padding(case: Case) -> None:
  """Padding of the prompt is inert, on either side."""
  real = case.rows["prompts"][:1, :5]
  rest = {
    "completions": case.rows["completions"][:1],
    "completion_mask": case.rows["completion_mask"][:1],
  }
  tight = case.hidden(prompts=real, prompt_mask=np.ones((1, 5), bool), **rest)
  for left in (0, 1, 3):
    room = ((0, 0), (left, 3 - left))
    padded = case.hidden(
      prompts=np.pad(real, room, constant_values=7),
      prompt_mask=np.pad(np.ones((1, 5), bool), room),
      **rest,
    )
    require(
      close(tight.prompt, padded.prompt)
      and close(tight.completions, padded.completions),
      f"{left} tokens of padding before the prompt and {3 - left} after it "
      "change its states",
    )


def prompt_matters(case: Case) -> None:
  """Every token of the prompt changes every state."""
  before = case.hidden()
  for position in range(5):
    changed = case.rows["prompts"].copy()
    changed[:, position] = _other(changed[:, position])
    after = case.hidden(prompts=changed)
    for b in range(B):
      same = [close(before.prompt[b], after.prompt[b])] + [
        close(before.completions[b][state], after.completions[b][state])
        for state in np.ndindex(K, T)
      ]
      require(not any(same), f"prompt token {position} leaves a state as it is")


def rows_apart(case: Case) -> None:
  """Rows of a batch do not see each other."""
  changed = case.rows["prompts"].copy()
  changed[1] = _other(changed[1])
  before, after = case.hidden(), case.hidden(prompts=changed)
  require(
    close(before.completions[0], after.completions[0]),
    "a row changes the states of another",
  )


def prompt_state(case: Case) -> None:
  """`prompt_state` is that of `hidden`, and its first state."""
  state = jax.jit(case.model.prompt_state)(
    case.params, case.rows["prompts"], case.rows["prompt_mask"]
  )
  hidden = case.hidden()
  require(close(state, hidden.prompt), "prompt_state is not hidden's prompt")
  require(
    close(state, hidden.completions[:, 0, 0]),
    "prompt_state is not the state before the first token",
  )


def encoder_state(case: Case) -> None:
  """An encoder by itself sees the whole prompt and no padding of it."""
  if case.model.encoder is None:
    return
  encoder = case.model.encoder
  params, run = encoder.params(case.params), jax.jit(encoder.state)
  words, mask = case.rows["prompts"][:1, :5], np.ones((1, 5), bool)
  tight = run(params, words, mask)
  shape = (1, case.model.width)
  require(tight.shape == shape, f"its shape is {tight.shape}, not {shape}")
  for left in (0, 1, 3):
    room = ((0, 0), (left, 3 - left))
    padded = run(
      params, np.pad(words, room, constant_values=7), np.pad(mask, room)
    )
    require(close(tight, padded), "padding changes the encoder's state")
  for position in range(5):
    changed = words.copy()
    changed[:, position] = _other(changed[:, position])
    require(
      not close(tight, run(params, changed, mask)),
      f"prompt token {position} leaves the encoder's state as it is",
    )


def decoding(case: Case) -> None:
  """`prefill` and `decode` give the states of `hidden`."""
  prefill = jax.jit(case.model.prefill, static_argnums=3)
  decode, expected = jax.jit(case.model.decode), case.hidden().completions
  words = case.rows["completions"]
  for k in (0, K - 1):
    cache, state = prefill(
      case.params, case.rows["prompts"], case.rows["prompt_mask"], T
    )
    for t in range(T):
      require(
        np.allclose(state, expected[:, k, t], rtol=1e-7, atol=1e-5),
        f"the state that predicts token {t} is not hidden's",
      )
      cache, state = decode(case.params, cache, words[:, k, t])


def prompt_once(case: Case) -> None:
  """The prompt is processed once, however many completions it has."""

  def flops(k: int) -> float:
    prompts, short = (jnp.zeros(s, jnp.int32) for s in ((1, 14), (1, k, 1)))
    return case.lowered(prompts, short).cost_analysis()["flops"]

  one, four = flops(1), flops(4)  # of 14 prompt tokens and 1 or 4 others
  require(four < 2 * one, f"1 completion is {one:g} flops, 4 are {four:g}")


def packing(case: Case) -> None:
  """Packed rows give the states that rows of their own give."""
  if case.model.hidden_packed is None:
    return  # it says so, and a run with packing is refused
  compute = jax.jit(lambda params, rows: _packable(case.model, params, rows))
  batch = _rows_to_pack()
  wanted = compute(case.params, batch)
  got = compute(case.params, _packed(batch))
  for name, states in wanted.items():
    require(
      np.allclose(got[name], states, rtol=1e-5, atol=1e-5),
      f"{name} of packed rows are others",
    )


def _other(tokens: np.ndarray) -> np.ndarray:
  return (tokens + 1) % V


def _rows_to_pack() -> Batch:
  """Prompts and completions of every length, padded on both sides."""
  rng, n = np.random.default_rng(0), 8
  prompt = rng.integers(1, P + 1, (n, 1))
  left, place = rng.integers(0, P + 1 - prompt), np.arange(P)
  return Batch(
    prompts=rng.integers(0, V, (n, P)).astype(np.int32),
    prompt_mask=(place >= left) & (place < left + prompt),
    completions=rng.integers(0, V, (n, K, T)).astype(np.int32),
    completion_mask=np.arange(T) < rng.integers(1, T + 1, (n, K, 1)),
    weight=np.ones(n, np.float32),
  )


def _packed(batch: Batch) -> Batch:
  """The rows, two or so in each that is packed."""
  prompt, completion = lengths(batch)
  groups = members(len(batch.prompts), shards=2, microbatches=1)
  shape = fit(prompt[groups], completion.sum(1)[groups], 2)
  packed = pack(batch, shape, shards=2, microbatches=1)
  return dataclasses.replace(batch, packed=packed)


def _packable(model: Model, params: Params, batch: Batch) -> dict[str, Any]:
  """All that is computed from states."""
  hidden = forward.hidden(model, params, batch)
  tokens = logps.token_logps(
    hidden.completions,
    model.unembedding(params),
    forward.targets(batch),
    softcap=model.softcap,
  )
  tokens = forward.by_token(batch, tokens)
  encoder = model.encoder
  return {
    "log-probs of tokens": jnp.where(batch.completion_mask, tokens, 0),
    "prompt states of hidden": hidden.prompt,
    "prompt states": forward.prompt_state(model, params, batch),
    **(
      {}
      if encoder is None or encoder.state_packed is None
      else {
        "encoder states": forward.encoder_state(
          encoder, encoder.params(params), batch
        )
      }
    ),
  }
