"""KL divergences in pieces of the vocabulary, against float64 formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.models import chunked_softmax
from offalign.models.chunked_kl import token_kls

B, K, T, D, V = 4, 2, 6, 8, 96


def inputs(dtype=np.float64):
  """Two models, the reference wider than the policy; and weights."""
  rng = np.random.default_rng(0)
  shapes = (B, K, T, D), (D, V), (B, K, T, D + 2), (D + 2, V)
  return *(rng.normal(size=s).astype(dtype) for s in shapes), rng.normal(
    size=(B, K, T)
  )


def log_softmax(hidden, unembedding, softcap):
  raw = hidden.astype(np.float64) @ unembedding.astype(np.float64)
  slope = np.ones(raw.shape)
  if softcap is not None:
    raw = softcap * np.tanh(raw / softcap)
    slope = 1 - np.square(raw / softcap)
  top = raw.max(-1, keepdims=True)
  return raw - top - np.log(np.exp(raw - top).sum(-1, keepdims=True)), slope


def formulas(
  hidden, unembedding, ref_hidden, ref_unembedding, weights, cap, ref_cap=None
):
  """Divergences and the gradients of their weighted sum; numpy."""
  log_p, slope = log_softmax(hidden, unembedding, cap)
  log_ref, _ = log_softmax(ref_hidden, ref_unembedding, ref_cap)
  kls = (np.exp(log_ref) * (log_ref - log_p)).sum(-1)
  d_logits = weights[..., None] * (np.exp(log_p) - np.exp(log_ref)) * slope
  return (
    kls,
    np.einsum("bktv,dv->bktd", d_logits, unembedding.astype(np.float64)),
    np.einsum("bktv,bktd->dv", d_logits, hidden.astype(np.float64)),
  )


def ours(*case, **options):
  *models, weights = map(jnp.asarray, case)

  def total(*models):
    kls = token_kls(*models, **options)
    return jnp.sum(weights * kls), kls

  run = jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)
  (_, kls), (*grads, d_ref, d_ref_unembedding) = jax.jit(run)(*models)
  assert not d_ref.any()
  assert not d_ref_unembedding.any()
  return kls, *grads


@pytest.mark.parametrize(
  ("softcap", "ref_softcap"), [(None, None), (2.0, 2.0), (2.0, 3.0)]
)
@pytest.mark.parametrize(
  ("chunk", "blocks", "apart"),
  [
    (None, 1, False),
    (25, 1, False),
    (7, 4, False),
    (7, 4, True),
    (9, 5, True),  # five cannot share 96 columns
  ],
)
def test_pieces_of_any_size_agree_with_the_formulas(
  softcap, ref_softcap, chunk, blocks, apart
):
  case = inputs()
  with jax.enable_x64(True):
    layout = chunked_softmax.Layout(blocks=blocks, apart=apart)
    caps = {"softcap": softcap, "ref_softcap": ref_softcap}
    actual = ours(*case, **caps, chunk=chunk, layout=layout)
    for a, b in zip(actual, formulas(*case, softcap, ref_softcap), strict=True):
      assert a.dtype == np.float64
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("padded", [1, 3])
def test_of_two_vocabularies_the_tokens_of_both_are_compared(padded):
  """One is padded further: what is left, given that it is no padding."""
  case = list(inputs())
  right = formulas(*case, None)
  case[padded] = np.concatenate(
    [case[padded], np.ones((len(case[padded]), 8))], 1
  )
  with jax.enable_x64(True):
    kls, d_hidden, d_unembedding = ours(*case, chunk=25)
  np.testing.assert_allclose(kls, right[0], rtol=1e-9, atol=1e-11)
  np.testing.assert_allclose(d_hidden, right[1], rtol=1e-9, atol=1e-11)
  assert d_unembedding.shape == case[1].shape
  np.testing.assert_allclose(
    d_unembedding[:, :V], right[2], rtol=1e-9, atol=1e-11
  )
  assert not d_unembedding[:, V:].any()


def test_bfloat16_is_summed_in_float32():
  case = inputs(jnp.bfloat16)
  actual, exact = ours(*case, chunk=25), formulas(*case, None)
  assert [x.dtype.name for x in actual] == ["float32", "bfloat16", "bfloat16"]
  np.testing.assert_allclose(actual[0], exact[0], rtol=1e-5, atol=1e-5)
  for a, b in zip(actual[1:], exact[1:], strict=True):
    error = np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
    assert error < 2**-8  # dlogits and the result are rounded, no sum is


@pytest.mark.parametrize("chunk", [96, 25])
def test_a_model_is_at_distance_0_from_itself(chunk):
  hidden, unembedding, *_, weights = inputs(np.float32)
  same = hidden, unembedding, hidden, unembedding, weights
  for found in ours(*same, chunk=chunk):
    assert not found.any()


def test_whole_logits_are_never_held():
  shapes = [jax.ShapeDtypeStruct(x.shape, np.float32) for x in inputs()[:-1]]

  def held(chunk):
    def total(*models):
      return token_kls(*models, chunk=chunk).sum()

    grad = jax.jit(jax.grad(total, argnums=(0, 1)))
    text = grad.lower(*shapes).compile().as_text()
    return any(f"[{sizes}]" in text for sizes in ("4,2,6,96", "4,2,6,1,96"))

  assert held(96)
  assert not held(24)


def test_extreme_logits_stay_finite():
  row = jnp.asarray([[-5.0, 0.0, 1.0, 7.0, 7.0]])
  hidden = jnp.full((1, 1, 1, 1), 1000.0)

  def total(hidden):
    return token_kls(hidden, row, jnp.full_like(hidden, -1.0), row, chunk=2)[
      0, 0, 0
    ]

  kl, grad = jax.value_and_grad(total)(hidden)
  log_ref, _ = log_softmax(np.float64([[-1.0]]), np.asarray(row), None)
  log_p, _ = log_softmax(np.float64([[1000.0]]), np.asarray(row), None)
  exact = (np.exp(log_ref) * (log_ref - log_p)).sum()
  np.testing.assert_allclose(kl, exact, rtol=1e-6)
  assert np.isfinite(grad).all()
