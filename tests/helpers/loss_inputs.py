"""Inputs and comparisons of the property tests."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.extra.numpy import arrays

B = 3
RTOL, ATOL = 1e-9, 1e-11

few = settings(max_examples=25)
betas = st.floats(0.01, 10.0)


def columns(k, low=-10.0, high=10.0):
  return arrays(np.float64, (B, k), elements=st.floats(low, high))


def sigmoid(x):
  return 0.5 * (1.0 + np.tanh(0.5 * x))


def close(got, want, rtol=RTOL, atol=ATOL):
  np.testing.assert_allclose(got, want, rtol, atol)
