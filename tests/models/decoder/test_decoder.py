"""The decoder against a plain computation, and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import losses, models
from offalign.errors import UserError
from offalign.generation.sampling import sample
from offalign.learner.objective import Objective
from offalign.models import functions
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder
from offalign.types import Batch

HEADS, V = 2, 11
PROMPT, COMPLETION = np.array([3, 1, 4, 1]), np.array([5, 9, 2])


def norm(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def gelu(x):
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rotate(x):
  """[S, D]; the complex number of coordinates (i, i + D/2) turns by s r^i."""
  half = x.shape[1] // 2
  rates = 10_000.0 ** (-np.arange(half) / half)
  turn = np.exp(1j * np.arange(len(x))[:, None] * rates)
  z = (x[:, :half] + 1j * x[:, half:]) * turn
  return np.concatenate([z.real, z.imag], axis=1)


def plain(params, prefix_lm):
  """[S, d] states of [prompt | completion], one token after another."""
  tokens = np.concatenate([PROMPT, COMPLETION])
  sees = np.tril(np.ones((len(tokens), len(tokens)), bool))
  if prefix_lm:
    sees[: len(PROMPT), : len(PROMPT)] = True
  x = params["embedding"]["table"][tokens]
  learned = "position_embedding" in params
  if learned:
    x = x + params["position_embedding"]["table"][: len(tokens)]
  blocks = params["layers"]
  for layer in range(blocks["out"]["kernel"].shape[0]):
    w = {k: next(iter(v.values()))[layer] for k, v in blocks.items()}
    h = norm(x, w["attention_norm"])
    heads = []
    for q, k, v in zip(
      *(np.split(h @ w[n], HEADS, axis=1) for n in ("query", "key", "value")),
      strict=True,
    ):
      if not learned:
        q, k = rotate(q), rotate(k)
      scores = np.where(sees, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
      heads.append(softmax(scores) @ v)
    x = x + np.concatenate(heads, axis=1) @ w["out"]
    x = x + gelu(norm(x, w["mlp_norm"]) @ w["up"]) @ w["down"]
  return norm(x, params["norm"]["scale"])


@pytest.mark.parametrize("positions", ["rope", "learned"])
@pytest.mark.parametrize("prefix_lm", [False, True])
def test_states_are_those_of_a_plain_computation(positions, prefix_lm):
  limit = "max_positions=7" if positions == "learned" else "max_positions=None"
  model = models.make(
    f"decoder(width=12, heads={HEADS}, mlp_ratio=3, positions={positions}, "
    f"{limit}, prefix_lm={prefix_lm})",
    vocab_size=V,
  )
  # Large weights, so that a wrong scale or a wrong gelu shows.
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.5, x.shape),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  hidden = jax.jit(model.hidden)(
    jax.tree.map(lambda x: x.astype(np.float32), params),
    PROMPT[None],
    np.ones((1, len(PROMPT)), bool),
    COMPLETION[None, None],
    np.ones((1, 1, len(COMPLETION)), bool),
  )
  expected = plain(params, prefix_lm)[len(PROMPT) - 1 : -1]
  np.testing.assert_allclose(hidden.completions[0, 0], expected, atol=3e-5)
  assert np.abs(expected).max() > 0.5


def test_size_of_the_benchmark_model():
  model = models.make(
    "decoder(width=48, layers=2, heads=4, positions=learned, "
    "max_positions=18, prefix_lm=True)",
    vocab_size=25,
  )
  params = jax.eval_shape(model.init, jax.random.key(0))
  # With the 48 weights and the bias of a value head it is 58,849.
  assert sum(x.size for x in jax.tree.leaves(params)) == 58_800


def test_a_tied_head_is_the_embedding():
  model = models.make("decoder(width=8, heads=2, tied=True)", vocab_size=V)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert "head" not in shapes
  params = jax.tree.map(
    lambda x: np.arange(x.size, dtype=x.dtype).reshape(x.shape), shapes
  )
  table = params["embedding"]["table"]
  np.testing.assert_array_equal(model.unembedding(params), table.T)


@pytest.mark.parametrize(
  ("method", "most"),
  [("hidden", (5, 4)), ("prefill", (5, 4)), ("prompt_state", (9, 0))],
)
def test_too_long_for_the_learned_positions(method, most):
  model = models.make(
    "decoder(width=8, heads=2, positions=learned, max_positions=9)",
    vocab_size=V,
  )
  params = jax.eval_shape(model.init, jax.random.key(0))

  def trace(p, t):
    prompt = jnp.zeros((1, p), jnp.int32), jnp.ones((1, p), bool)
    rest = {
      "hidden": (jnp.zeros((1, 2, t), jnp.int32), jnp.ones((1, 2, t), bool)),
      "prefill": (t,),
      "prompt_state": (),
    }[method]
    call = lambda params: getattr(model, method)(params, *prompt, *rest)
    jax.eval_shape(call, params)

  trace(*most)
  with pytest.raises(UserError, match=r"take 10 positions.*max_positions=9"):
    trace(most[0] + 1, most[1])


def test_samples_are_drawn_from_the_bounded_logits():
  config = DecoderConfig(vocab_size=V, width=8, heads=2, logit_cap=0.5)
  model = functions.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="capped",
    vocab_size=V,
    width=8,
  )
  assert model.softcap == 0.5
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  prompts = rng.integers(0, V, (4, 3)).astype(np.int32)
  mask = np.ones(prompts.shape, bool)
  samples = sample(
    model,
    params,
    prompts,
    mask,
    seeds=np.arange(4, dtype=np.int32),
    max_new_tokens=5,
    eos_id=0,
  )
  y, seen = samples.tokens[:, None], samples.mask[:, None]
  objective = Objective(losses.get("sft"), model, None)
  batch = Batch(prompts, mask, y, seen, np.ones(4, np.float32))
  scored = jax.jit(objective.logps)(params, batch)[:, 0]
  np.testing.assert_allclose(samples.logps, scored, atol=1e-5)
  # No token can be far from log(1 / V).
  assert (samples.logps > -(np.log(V) + 1) * seen.sum((1, 2))).all()


@pytest.mark.parametrize(
  ("fields", "error"),
  [
    ({"kv_heads": 3}, r"\(3\) do not divide heads=4"),
    ({"head_dim": 5}, "heads of 5 are odd"),
    ({"windows": (3, 4, 5)}, r"\(3, 4, 5\) are not one for each of 2 layers"),
    ({"ropes": ()}, "are not one for each"),
  ],
)
def test_switches_that_do_not_fit_are_refused(fields, error):
  with pytest.raises(UserError, match=error):
    DecoderConfig(vocab_size=V, **fields)


def test_switches_of_checkpoints_are_no_options_of_a_spec():
  with pytest.raises(UserError, match="no option 'windows'"):
    models.make("decoder(windows=3)", vocab_size=V)
