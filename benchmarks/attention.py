"""What attention costs: time and memory of dense against blockwise.

  python -m benchmarks.attention --lengths=512,1024,2048,4096

Compares the gradient of a weighted sum of causal attention in queries, keys and
values. Rounds take both paths in turn; times are the least of all rounds, wall
clock and CPU seconds of all threads. "auto" is the path that models take.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from offalign.models import attending, sight

_LENGTHS = flags.DEFINE_list("lengths", ["512", "1024", "2048", "4096"], "T")
_BATCH = flags.DEFINE_integer("batch", 1, "B")
_HEADS = flags.DEFINE_integer("heads", 8, "H, of queries")
_GROUPS = flags.DEFINE_integer("groups", 8, "G, heads of keys and values")
_SIZE = flags.DEFINE_integer("size", 64, "D, of a head")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "of queries, keys and values"
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "timed; 0 only compiles")
_PATHS: tuple[attending.AttentionPath, ...] = ("dense", "blockwise")


def _gradient(path: attending.AttentionPath, length: int) -> Callable[..., Any]:
  attend = attending.Attend(path)

  def total(q: Any, k: Any, v: Any, weights: Any) -> Any:
    mixed = attend(q, k, v, sight.past()).mixed
    return jnp.vdot(weights, mixed.astype(jnp.float32))

  b, h, g, d = _BATCH.value, _HEADS.value, _GROUPS.value, _SIZE.value
  shapes = [
    jax.ShapeDtypeStruct((b, length, n, d), dtype)
    for n, dtype in (
      (h, _DTYPE.value),
      (g, _DTYPE.value),
      (g, _DTYPE.value),
      (h, "float32"),
    )
  ]
  return jax.jit(jax.grad(total, (0, 1, 2))).lower(*shapes).compile()


def _inputs(length: int) -> list[Any]:
  b, h, g, d = _BATCH.value, _HEADS.value, _GROUPS.value, _SIZE.value
  keys = jax.random.split(jax.random.key(0), 4)
  made = [
    jax.random.normal(key, (b, length, n, d))
    for key, n in zip(keys, (h, g, g, h), strict=True)
  ]
  return [x.astype(_DTYPE.value) for x in made[:3]] + made[3:]


def main(argv: list[str]) -> None:
  """Prints a line for each length and path."""
  del argv
  print(f"{jax.default_backend()}, {_DTYPE.value}")
  print(f"{'T':>7}  {'path':9} {'temporaries, MB':>15} {'ms':>8} {'CPU s':>7}")
  for length in map(int, _LENGTHS.value):
    steps = {path: _gradient(path, length) for path in _PATHS}
    inputs = _inputs(length) if _ROUNDS.value else []
    taken: dict[str, list[tuple[float, float]]] = {path: [] for path in steps}
    for turn in range(_ROUNDS.value and _ROUNDS.value + 1):
      for path, step in steps.items():
        began = time.perf_counter(), time.process_time()
        jax.block_until_ready(step(*inputs))
        ended = time.perf_counter(), time.process_time()
        if turn:  # the first is to warm up
          taken[path].append((ended[0] - began[0], ended[1] - began[1]))
    auto = _PATHS[not attending.Attend().is_dense(length, length)]
    for path, step in steps.items():
      memory = step.memory_analysis().temp_size_in_bytes  # type: ignore[attr-defined]
      wall, cpu = map(min, zip(*(taken[path] or [(0.0, 0.0)]), strict=True))
      mark = " auto" if path == auto else ""
      print(
        f"{length:7}  {path:9} {memory / 1e6:15.1f} {1e3 * wall:8.1f} "
        f"{cpu:7.3f}{mark}",
        flush=True,
      )


if __name__ == "__main__":
  app.run(main)
