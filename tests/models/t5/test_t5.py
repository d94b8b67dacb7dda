"""T5 against a plain computation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import models
from offalign.models.positions import bucket

HEADS, BUCKETS, FAR, V = 2, 8, 12, 11
PROMPT = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9])
COMPLETION = np.array([5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3])


def plain_bucket(distance, bidirectional, buckets, max_distance):
  """Mesh TensorFlow's rule, for one whole number."""
  first = 0
  if bidirectional:
    buckets //= 2
    first = buckets if distance > 0 else 0
    back = abs(distance)
  else:
    back = max(-distance, 0)
  exact = buckets // 2
  if back < exact:
    return first + back
  octaves = math.log(back / exact) / math.log(max_distance / exact)
  step = int(octaves * (buckets - exact) + 1e-9)
  return first + min(exact + step, buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
  ("buckets", "max_distance"), [(32, 128), (8, 12), (64, 1000)]
)
def test_buckets(bidirectional, buckets, max_distance):
  distances = np.arange(-4000, 4001)
  options = {
    "bidirectional": bidirectional,
    "buckets": buckets,
    "max_distance": max_distance,
  }
  got = functools.partial(bucket, **options)(jnp.asarray(distances))
  expected = [plain_bucket(int(d), *options.values()) for d in distances]
  np.testing.assert_array_equal(got, expected)
  assert set(expected) == set(range(buckets)) - (
    {buckets // 2} if bidirectional else set()
  )


def norm(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def gelu(x):
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attention(x, memory, w, bias):
  """Adds attention of the norm of x [T, d] over memory [S, d]."""
  h = norm(x, w["norm"]["scale"])
  memory = h if memory is None else memory
  q = np.split(h @ w["query"]["kernel"], HEADS, axis=1)
  k = np.split(memory @ w["key"]["kernel"], HEADS, axis=1)
  v = np.split(memory @ w["value"]["kernel"], HEADS, axis=1)
  mixed = [softmax(q[i] @ k[i].T + bias[i]) @ v[i] for i in range(HEADS)]
  return x + np.concatenate(mixed, axis=1) @ w["out"]["kernel"]


def mlp(x, w):
  h = norm(x, w["norm"]["scale"])
  h = gelu(h @ w["gate"]["kernel"]) * (h @ w["up"]["kernel"])
  return x + h @ w["down"]["kernel"]


def biases(tower, n, bidirectional):
  table = tower["bias"]["embedding"]["table"]
  bias = np.zeros((HEADS, n, n))
  for i in range(n):
    for j in range(n):
      where = plain_bucket(j - i, bidirectional, BUCKETS, FAR)
      bias[:, i, j] = table[where]
      if j > i and not bidirectional:
        bias[:, i, j] = -np.inf
  return bias


def layer(tower, i):
  return jax.tree.map(lambda x: x[i], tower["layers"])


def encode(params):
  """[P, d] states of the prompt's tokens."""
  encoder = params["encoder"]
  x = params["embedding"]["table"][PROMPT]
  bias = biases(encoder, len(PROMPT), True)
  for i in range(2):
    w = layer(encoder, i)
    x = mlp(attention(x, None, w["attention"], bias), w["mlp"])
  return norm(x, encoder["norm"]["scale"])


def plain(params):
  """[T, d] states that predict each token of the completion."""
  decoder, memory = params["decoder"], encode(params)
  inputs = np.concatenate([[0], COMPLETION[:-1]])
  x = params["embedding"]["table"][inputs]
  bias = biases(decoder, len(inputs), False)
  for i in range(2):
    w = layer(decoder, i)
    x = attention(x, None, w["attention"], bias)
    x = attention(x, memory, w["cross"], np.zeros(HEADS))
    x = mlp(x, w["mlp"])
  return norm(x, decoder["norm"]["scale"])


def test_states_are_those_of_a_plain_computation():
  model = models.make(
    f"t5(width=10, heads={HEADS}, head_dim=6, mlp_ratio=3, buckets={BUCKETS}, "
    f"max_distance={FAR})",
    vocab_size=V,
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.5, x.shape),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  single = jax.tree.map(lambda x: x.astype(np.float32), params)
  prompt = PROMPT[None], np.ones((1, len(PROMPT)), bool)
  hidden = jax.jit(model.hidden)(
    single,
    *prompt,
    COMPLETION[None, None],
    np.ones((1, 1, len(COMPLETION)), bool),
  )
  np.testing.assert_allclose(hidden.completions[0, 0], plain(params), atol=3e-5)
  alone = model.encoder.params(single)
  assert set(alone) == {"embedding", "encoder"}
  state = jax.jit(model.encoder.state)(alone, *prompt)
  np.testing.assert_allclose(state[0], encode(params).mean(0), atol=3e-5)


def test_size_of_the_benchmark_model():
  model = models.make(
    "t5(width=32, layers=2, heads=4, head_dim=10)", vocab_size=25
  )
  params = jax.eval_shape(model.init, jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(params)) == 57_536


def test_first_scales():
  model = models.make("t5(width=64, head_dim=64)", vocab_size=2000)
  params = jax.jit(model.init)(jax.random.key(0))
  attention = params["decoder"]["layers"]["cross"]
  expected = [
    (params["embedding"]["table"], 1.0),
    (params["head"]["kernel"], 64**-0.5),
    (attention["query"]["kernel"], 1 / 64),
    (attention["key"]["kernel"], 64**-0.5),
    (attention["out"]["kernel"], 256**-0.5),
  ]
  for leaf, std in expected:
    assert np.std(leaf) == pytest.approx(std, rel=0.05)
