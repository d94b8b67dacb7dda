"""Contracts on numerics: finite at the extremes, and exact in float32."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign.losses import Loss
from offalign.testing.losses.inputs import (
  ROWS,
  Columns,
  difference,
  learning,
  require,
  run,
  sample,
  take,
  with_means,
)


def extremes(loss: Loss) -> None:
  """Losses and gradients are finite at large margins and at probability 1.

  Margins of +-100 after scaling, and log-probs of 0, -1e-8 and -1e-3, in
  float32 and bfloat16.
  """
  for dtype, columns in itertools.product(
    (jnp.float32, jnp.bfloat16), _extremes(loss)
  ):
    # Without float64, as in training; in float64, less would overflow.
    with jax.enable_x64(False):
      result = run(loss, with_means(loss, _cast(columns, dtype)))
    for name, column in result.items():
      metric = name.startswith("metric/")
      bad = np.isinf(column) if metric else ~np.isfinite(column)
      if bad.any():
        row = np.argwhere(bad)[0][0]
        at = f"logps {columns['logps'][row]}"
        if "ref_logps" in loss.needs:
          at += f", ref_logps {columns['ref_logps'][row]}"
        require(False, f"{name} is not finite in {dtype.__name__} at {at}")


def _extremes(loss: Loss) -> Iterator[Columns]:
  """Makes columns that are extreme in every row."""
  k = sample(loss)["logps"].shape[1]
  near = np.array(list(itertools.product([0.0, -1e-8, -1e-3], repeat=k)))
  far = np.concatenate([np.eye(k), -np.eye(k)]) * 100.0 / loss.scale
  lengths = np.concatenate([np.ones(near.shape), np.full(far.shape, 7.0)])
  if loss.average:
    far *= 7.0
  # Log-probs stay below 0: the policy falls, or else the reference does.
  logps = np.concatenate([near, np.minimum(far, 0.0) - 7.0])
  ref_logps = np.concatenate([near[::-1], np.minimum(-far, 0.0) - 7.0])
  rng = np.random.default_rng(0)
  columns = {
    "logps": logps,
    "ref_logps": ref_logps,
    "behaviour_logps": ref_logps,
    "lengths": lengths,
    "rewards": 3.0 * rng.normal(size=logps.shape),
    "margins": np.linspace(-3.0, 5.0, len(logps)),
    "prefix_logps": 0.5 * logps,
    "ref_prefix_logps": 0.5 * ref_logps,
    "log_collisions": 0.1 * logps,
    "values": rng.normal(size=(len(logps), 1)),
  }
  if loss.trains_rewards:
    columns["values"] = far[np.arange(len(logps)) % len(far)] * loss.scale
  labels = (True, False) if "labels" in loss.needs else (True,)
  kls = (-1.0, 0.0, 1.0) if "kl" in loss.needs else (0.0,)
  starts = range(0, len(logps), ROWS)  # a size that is compiled already
  for start, desirable, kl in itertools.product(starts, labels, kls):
    piece = take(columns, np.arange(start, start + ROWS) % len(logps))
    yield {
      **piece,
      "labels": np.full(piece["logps"].shape, desirable),
      "kl": np.asarray(kl * 100.0 / loss.scale),
    }


def _cast(columns: Columns, dtype: Any) -> Columns:
  return {
    k: v if v.dtype == bool else v.astype(dtype) for k, v in columns.items()
  }


def precision(loss: Loss) -> None:
  """In float32 no digits are lost to log-probs in the thousands."""
  columns = sample(loss)
  # Sums of long completions: 1,000 times the length, the same log-ratios.
  shift = 999.0 * columns["ref_logps"]
  columns["logps"] = columns["logps"] + shift
  columns["ref_logps"] = columns["ref_logps"] + shift
  columns["behaviour_logps"] = columns["behaviour_logps"] + shift
  for name in ("prefix_logps", "ref_prefix_logps"):
    columns[name] = columns[name] + 0.5 * shift
  columns["lengths"] = 1000.0 * columns["lengths"]
  low = _cast(columns, np.float32)
  with jax.enable_x64(False):
    got = learning(run(loss, with_means(loss, low)))
  want = learning(run(loss, with_means(loss, _cast(low, np.float64))))
  name = difference(want, got, rtol=2e-5, atol=2e-6)
  require(not name, f"{name} loses digits in float32 at log-probs of -10,000")
