"""top-k and top-p against sorting, and against `transformers`."""

import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from offalign.generation import filters

B, V = 3, 17
TOP_K, TOP_P = jax.jit(filters.top_k), jax.jit(filters.top_p)

# A few values, so that many are equal; and any value.
values = st.sampled_from([-2.0, -0.0, 0.0, 1.5]) | st.floats(-30, 30, width=32)
logits = hnp.arrays(np.float32, (B, V), elements=values)


@hypothesis.given(logits=logits, k=st.integers(1, V + 3))
def test_top_k(logits, k):
  kept = np.isfinite(np.asarray(TOP_K(logits, k)))
  for row, keep in zip(logits, kept, strict=True):
    kth = np.sort(row)[::-1][min(k, V) - 1]
    np.testing.assert_array_equal(keep, row >= kth)


def nucleus(row, p):
  """(kept, whether rounding could change it), one token at a time."""
  probs = np.exp(row.astype(np.float64) - row.max())
  probs /= probs.sum()
  order = np.argsort(row, kind="stable")
  mass = np.cumsum(probs[order])
  out = mass <= 1 - p
  out[-1] = False
  kept = np.ones(V, bool)
  kept[order[out]] = False
  return kept, bool((np.abs(mass - (1 - p)) < 1e-5).any())


@hypothesis.given(logits=logits, p=st.floats(0.01, 0.99))
def test_top_p(logits, p):
  filtered = np.asarray(TOP_P(logits, np.float32(p)))
  for row, seen in zip(logits, filtered, strict=True):
    kept, near = nucleus(row, p)
    if not near:
      np.testing.assert_array_equal(np.isfinite(seen), kept)
    np.testing.assert_array_equal(seen[np.isfinite(seen)], row[seen > -np.inf])


def test_top_p_at_its_ends():
  row = np.array([[0.0, 2.0, 1.0, 2.0]], np.float32)
  least = np.asarray(TOP_P(row, np.float32(1e-9)))
  assert np.flatnonzero(np.isfinite(least[0])).tolist() == [3]
  most = np.asarray(TOP_P(row, np.float32(1 - 1e-7)))
  assert np.isfinite(most).all()
  # Equal tokens are not all kept for being equal.
  half = np.asarray(TOP_P(np.zeros((1, 8), np.float32), np.float32(0.45)))
  assert np.flatnonzero(np.isfinite(half[0])).tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("k", [None, 1, 5, 400])
@pytest.mark.parametrize("p", [None, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("temperature", [0.4, 1.7])
def test_as_transformers(k, p, temperature):
  torch = pytest.importorskip("torch")
  process = pytest.importorskip("transformers").generation.logits_process
  x = np.random.default_rng(0).normal(0, 3, (8, 500)).astype(np.float32)
  theirs = process.TemperatureLogitsWarper(temperature)(None, torch.tensor(x))
  ours = x / np.float32(temperature)
  if k is not None:
    theirs = process.TopKLogitsWarper(k)(None, theirs)
    ours = TOP_K(ours, k)
  if p is not None:
    theirs = process.TopPLogitsWarper(p)(None, theirs)
    ours = TOP_P(ours, np.float32(p))
  np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs.numpy()))
  np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
