"""What token log-probs cost: memory, time and error, against whole logits.

  python -m benchmarks.logprobs --tokens=4096 --width=512 --vocab=131072

Compares value and gradient of a weighted sum of log-probs:

  log_softmax  whole logits, log_softmax and a gather, differentiated by JAX
  logsumexp    whole logits, gather - logsumexp: the leaner dense form
  positions    pieces of positions, each recomputed by `jax.checkpoint`
  ours         `scoring.token_logps`

Rounds take every method in turn, in a new order; a ratio is the median over
rounds of times taken in the same round, so that a busy machine slows both.
CPU seconds of all threads are given too; on a busy CPU they say more.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from offalign.models import logps as scoring
from offalign.types import Array

_TOKENS = flags.DEFINE_integer("tokens", 4096, "positions, in 8 rows")
_WIDTH = flags.DEFINE_integer("width", 512, "d")
_VOCAB = flags.DEFINE_integer("vocab", 131072, "V")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "of states and unembedding"
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "timed; 0 only compiles")
_CHUNKS = flags.DEFINE_multi_integer(
  "chunk", [], "also ours with this many columns in a piece"
)
_METHODS = flags.DEFINE_list(
  "methods", ["log_softmax", "logsumexp", "positions", "ours"], "which"
)

Score = Callable[[Array, Array, Array], Array]


def _logits(hidden: Array, unembedding: Array) -> Array:
  return jnp.einsum(
    "bktd,dv->bktv", hidden, unembedding, preferred_element_type=jnp.float32
  )


def _log_softmax(hidden: Array, unembedding: Array, targets: Array) -> Array:
  logps = jax.nn.log_softmax(_logits(hidden, unembedding))
  return jnp.take_along_axis(logps, targets[..., None], axis=-1)[..., 0]


def _logsumexp(hidden: Array, unembedding: Array, targets: Array) -> Array:
  return scoring.logps_from_logits(_logits(hidden, unembedding), targets)


def _positions(hidden: Array, unembedding: Array, targets: Array) -> Array:
  """Eight pieces of T, or as many as divide it."""
  n = int(np.gcd(8, hidden.shape[2]))

  @jax.checkpoint
  def piece(xs: tuple[Array, Array]) -> Array:
    return _logsumexp(xs[0], unembedding, xs[1])

  cut = (jnp.stack(jnp.split(x, n, axis=2)) for x in (hidden, targets))
  return jnp.concatenate(list(jax.lax.map(piece, tuple(cut))), axis=2)


def _methods() -> dict[str, Score]:
  known: dict[str, Score] = {
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "positions": _positions,
    "ours": scoring.token_logps,
  }
  chosen = {name: known[name] for name in _METHODS.value}
  for chunk in _CHUNKS.value:
    chosen[f"ours, {chunk}"] = lambda h, w, y, c=chunk: (  # type: ignore[misc]
      scoring.token_logps(h, w, y, chunk=c)
    )
  return chosen


def _inputs() -> tuple[Array, ...]:
  rows, d, v = (8, 1, _TOKENS.value // 8), _WIDTH.value, _VOCAB.value
  keys = jax.random.split(jax.random.key(0), 4)
  return (
    jax.random.normal(keys[0], (*rows, d), _DTYPE.value),
    jax.random.normal(keys[1], (d, v), _DTYPE.value) * d**-0.5,
    jax.random.randint(keys[2], rows, 0, v),
    jax.random.normal(keys[3], rows),
  )


def _compile(score: Score, args: tuple[Array, ...]) -> jax.stages.Compiled:
  def total(h: Array, w: Array, y: Array, weights: Array) -> Array:
    return jnp.sum(weights * score(h, w, y))

  run = jax.value_and_grad(total, argnums=(0, 1))
  return jax.jit(run).lower(*args).compile()


def _error(actual: tuple[Array, Array], exact: tuple[Array, Array]) -> float:
  """The largest difference, as a share of the largest entry."""
  return max(
    float(jnp.abs(a - b).max() / jnp.abs(b).max())
    for a, b in zip(actual, exact, strict=True)
  )


def main(_: list[str]) -> None:
  """Prints a table."""
  args = _inputs()
  compiled = {name: _compile(f, args) for name, f in _methods().items()}
  first = next(iter(compiled))
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in compiled}
  errors = dict.fromkeys(compiled, float("nan"))
  if _ROUNDS.value:
    exact = compiled[first](*args)[1]
    for name, run in compiled.items():
      errors[name] = _error(run(*args)[1], exact)
    del exact
  order = np.random.default_rng(0)
  for _round in range(_ROUNDS.value):
    for name in order.permutation(list(compiled)):
      began = time.perf_counter(), time.process_time()
      jax.block_until_ready(compiled[name](*args))
      ended = time.perf_counter(), time.process_time()
      times[name].append((ended[0] - began[0], ended[1] - began[1]))
  print(
    f"{jax.devices()[0].device_kind}, {_DTYPE.value}: {_TOKENS.value} tokens, "
    f"d={_WIDTH.value}, V={_VOCAB.value}, {_ROUNDS.value} rounds"
  )
  heads = ("temp MiB", "s", "ratio", "CPU s", "ratio")
  print(" " * 14 + "".join(f"{x:>10}" for x in heads) + "  gradient error")
  for name, run in compiled.items():
    analysis: Any = run.memory_analysis()
    megabytes = analysis.temp_size_in_bytes / 2**20
    line = f"{name:14}{megabytes:10.0f}"
    if _ROUNDS.value:
      own = np.array(times[name])
      ratios = np.median(own / np.array(times[first]), axis=0)
      for seconds, ratio in zip(np.median(own, axis=0), ratios, strict=True):
        line += f"{seconds:10.2f}{ratio:10.3f}"
      line += f"  {errors[name]:.1e}"
    print(line)


if __name__ == "__main__":
  app.run(main)
