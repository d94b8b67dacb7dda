"""What every family keeps, whatever its switches."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import models
from offalign.models import functions
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder
from offalign.models.positions import Rope

V, B, P, K, T = 13, 2, 8, 3, 5
GEMMA = DecoderConfig(
  vocab_size=V,
  width=16,
  layers=2,
  heads=4,
  kv_heads=2,
  head_dim=6,
  mlp_width=20,
  activation="silu",
  gated=True,
  plus_one=True,
  post_norms=True,
  qk_norm=True,
  biases=("query", "out", "gate", "down"),
  embedding_scale=True,
  score_scale=0.3,
  score_cap=3.0,
  logit_cap=4.0,
  ropes=(Rope(50.0), Rope(1000.0, 2.0)),
  windows=(4, None),
  tied=True,
)
"""Switches that only a checkpoint sets, most of them on."""
SPECS = (
  "decoder(width=16, heads=2)",
  "decoder(width=16, heads=2, positions=learned, max_positions=20, "
  "prefix_lm=True, tied=True)",
  "t5(width=16, heads=2, head_dim=6, buckets=8, max_distance=16)",
  GEMMA,
)


@pytest.fixture(scope="module", autouse=True)
def _strict():
  with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
    yield


def build(asked):
  if isinstance(asked, str):
    return models.make(asked, vocab_size=V)
  return functions.as_model(
    lambda rngs: Decoder(asked, rngs=rngs),
    spec="gemma",
    vocab_size=V,
    width=asked.width,
  )


@pytest.fixture(
  scope="module", params=SPECS, ids=("rope", "learned", "t5", "gemma")
)
def case(request):
  model = build(request.param)
  init = jax.jit(model.init)
  # Norms start at 1 and hide what they do.
  params = jax.tree.map(
    lambda x: jnp.asarray(
      x + 0.1 * np.cos(1.7 * np.arange(x.size, dtype="f")).reshape(x.shape)
    ),
    jax.tree.map(np.asarray, init(jax.random.key(0))),
  )
  rng = np.random.default_rng(0)
  prompt_mask = np.ones((B, P), bool)
  prompt_mask[0, 5:] = False
  return SimpleNamespace(
    model=model,
    init=init,
    params=params,
    prompts=rng.integers(0, V, (B, P)).astype(np.int32),
    prompt_mask=prompt_mask,
    completions=rng.integers(0, V, (B, K, T)).astype(np.int32),
    completion_mask=np.arange(T) < rng.integers(1, T + 1, (B, K, 1)),
    hidden=jax.jit(model.hidden),
    prompt_state=jax.jit(model.prompt_state),
  )


def run(case, **changed):
  names = ("params", "prompts", "prompt_mask", "completions", "completion_mask")
  arguments = {name: getattr(case, name) for name in names} | changed
  return jax.tree.map(np.asarray, case.hidden(*arguments.values()))


def close(a, b):
  return bool(np.allclose(a, b, atol=2e-6))


def other(tokens):
  return (tokens + 1) % V


def test_shapes(case):
  hidden = run(case)
  assert hidden.prompt.shape == (B, case.model.width)
  assert hidden.completions.shape == (B, K, T, case.model.width)
  assert case.model.unembedding(case.params).shape == (case.model.width, V)


@pytest.mark.parametrize("t", range(T))
def test_causality(case, t):
  changed = case.completions.copy()
  changed[..., t] = other(changed[..., t])
  before, after = run(case), run(case, completions=changed)
  upto = np.s_[:, :, : t + 1]
  assert close(before.completions[upto], after.completions[upto])
  for later in range(t + 1, T):
    state = np.s_[:, :, later]
    assert not close(before.completions[state], after.completions[state])


def test_completions_do_not_see_each_other(case):
  changed = case.completions.copy()
  changed[:, 1] = other(changed[:, 1])
  before, after = run(case), run(case, completions=changed)
  assert close(before.completions[:, ::2], after.completions[:, ::2])
  assert not close(before.completions[:, 1], after.completions[:, 1])
  assert close(before.prompt, after.prompt)


def test_k_completions_are_each_alone_and_padding_on_the_right_is_inert(case):
  together = run(case)
  room = ((0, 0), (0, 0), (0, 4))
  for k in range(K):
    one = np.s_[:, k : k + 1]
    alone = run(
      case,
      completions=np.pad(case.completions[one], room, constant_values=k),
      completion_mask=np.pad(case.completion_mask[one], room),
    )
    assert close(alone.completions[:, :, :T], together.completions[one])
    assert close(alone.prompt, together.prompt)


@pytest.mark.parametrize("left", [0, 1, 3])
def test_padding_of_the_prompt_is_inert(case, left):
  real = case.prompts[:1, :5]
  rest = {
    "completions": case.completions[:1],
    "completion_mask": case.completion_mask[:1],
  }
  tight = run(case, prompts=real, prompt_mask=np.ones((1, 5), bool), **rest)
  room = ((0, 0), (left, 3 - left))
  padded = run(
    case,
    prompts=np.pad(real, room, constant_values=7),
    prompt_mask=np.pad(np.ones((1, 5), bool), room),
    **rest,
  )
  assert close(tight.prompt, padded.prompt)
  assert close(tight.completions, padded.completions)


@pytest.mark.parametrize("position", range(5))
def test_every_token_of_the_prompt_matters(case, position):
  changed = case.prompts.copy()
  changed[:, position] = other(changed[:, position])
  before, after = run(case), run(case, prompts=changed)
  for b in range(B):
    assert not close(before.prompt[b], after.prompt[b])
    for state in np.ndindex(K, T):
      assert not close(
        before.completions[b][state], after.completions[b][state]
      )


def test_rows_do_not_see_each_other(case):
  changed = case.prompts.copy()
  changed[1] = other(changed[1])
  before, after = run(case), run(case, prompts=changed)
  assert close(before.completions[0], after.completions[0])


def test_prompt_state_is_that_of_hidden(case):
  state = case.prompt_state(case.params, case.prompts, case.prompt_mask)
  assert close(state, run(case).prompt)
  assert close(state, run(case).completions[:, 0, 0])


@pytest.mark.parametrize("k", [0, 2])
def test_decode_equals_hidden(case, k):
  cache, state = jax.jit(case.model.prefill, static_argnums=3)(
    case.params, case.prompts, case.prompt_mask, T
  )
  decode = jax.jit(case.model.decode)
  expected = run(case).completions[:, k]
  for t in range(T):
    np.testing.assert_allclose(state, expected[:, t], atol=1e-5)
    cache, state = decode(case.params, cache, case.completions[:, k, t])


def test_leaves_are_plain_arrays_and_layers_are_stacked(case):
  assert type(case.params) is dict
  stacked = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(case.params):
    assert isinstance(leaf, jax.Array)
    assert all(isinstance(key, jax.tree_util.DictKey) for key in path)
    if any(key.key.startswith("layers") for key in path):
      assert leaf.shape[0] == 2
      stacked += 1
  assert stacked >= 8


def test_every_leaf_has_a_gradient_and_empty_rows_have_finite_ones(case):
  def loss(params, rows):
    hidden = case.model.hidden(
      params,
      case.prompts,
      jnp.logical_and(case.prompt_mask, rows),
      case.completions,
      jnp.logical_and(case.completion_mask, rows[:, None]),
    )
    logits = hidden.completions @ case.model.unembedding(params)
    return jax.nn.log_softmax(logits)[..., 0].sum()

  grad = jax.jit(jax.grad(loss))
  for gradient in jax.tree.leaves(grad(case.params, np.ones((B, 1), bool))):
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-6
  for gradient in jax.tree.leaves(grad(case.params, np.zeros((B, 1), bool))):
    assert np.isfinite(gradient).all()


def test_bfloat16_params_give_bfloat16_states_near_the_others(case):
  narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), case.params)
  states = case.hidden(
    narrow,
    case.prompts,
    case.prompt_mask,
    case.completions,
    case.completion_mask,
  ).completions
  assert states.dtype == jnp.bfloat16
  wide = run(case).completions
  assert np.abs(states.astype(np.float32) - wide).max() < 0.2 * wide.std()


def test_the_prompt_is_processed_once(case):
  def flops(k):
    wide = jnp.zeros((1, 14), jnp.int32), jnp.ones((1, 14), bool)
    short = jnp.zeros((1, k, 1), jnp.int32), jnp.ones((1, k, 1), bool)
    lowered = case.hidden.lower(case.params, *wide, *short)
    return lowered.cost_analysis()["flops"]

  # Fourteen prompt tokens and one of each completion.
  assert flops(4) < 2 * flops(1)


def test_init_depends_on_the_key_alone(case):
  a, b, c = (
    jax.tree.map(np.asarray, case.init(jax.random.key(seed)))
    for seed in (1, 1, 2)
  )
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert not (a["embedding"]["table"] == c["embedding"]["table"]).any()
  layer = next(
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(a)
    if "layers" in jax.tree_util.keystr(path) and leaf.ndim == 3
  )
  assert not (layer[0] == layer[1]).any()
