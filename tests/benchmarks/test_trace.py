"""Reading traces: idle time, kinds of operations, and whose lines count."""

import time

import jax
import pytest

from benchmarks import trace
from benchmarks.trace import Op
from offalign.errors import UserError


def test_idle_time_is_what_no_operation_covers():
  ops = [Op("a", 1.0, 2.0), Op("b", 1.5, 3.0), Op("c", 2.0, 2.5)]
  assert trace.idle(ops) == 0.0
  assert trace.idle([*ops, Op("d", 4.0, 5.0)]) == pytest.approx(0.25)


def test_kinds_share_the_time():
  ops = [
    Op("nvjet_sm90_tst_128x256", 0.0, 3.0),
    Op("loop_add_fusion.3", 3.0, 4.0),
    Op("input_reduce_fusion", 4.0, 4.5),
    Op("MemcpyD2D", 4.5, 5.0),
  ]
  assert trace.by_kind(ops) == pytest.approx(
    {
      "matrix products": 0.6,
      "other fusions": 0.2,
      "reductions": 0.1,
      "copies": 0.1,
    }
  )


@pytest.mark.parametrize(
  ("plane", "line", "counts"),
  [
    ("/device:GPU:0", "Stream #13(Compute)", True),
    ("/device:GPU:0", "XLA Modules", False),
    ("/device:TPU:0", "XLA Ops", True),
    ("/device:TPU:0", "Steps", False),
    ("/host:CPU", "tf_XLAPjRtCpuClient/2565", True),
    ("/host:CPU", "python", False),
  ],
)
def test_each_operation_counts_once(plane, line, counts):
  assert trace._is_of_device(plane, line) is counts


def test_a_trace_of_this_machine_is_read(tmp_path):
  with pytest.raises(UserError, match="holds no trace"):
    trace.read(tmp_path)
  double = jax.jit(lambda x: x @ x + 1)
  x = jax.numpy.ones((300, 300))
  double(x).block_until_ready()
  with jax.profiler.trace(tmp_path):
    double(x).block_until_ready()
  ops = trace.read(tmp_path)
  assert all(op.end >= op.start for op in ops)
  assert not any("::" in op.name for op in ops)
  assert 0 <= trace.idle(ops) < 1
  programs = trace.programs(tmp_path)
  assert programs[0].start <= ops[0].start
  assert max(p.end for p in programs) >= max(op.end for op in ops)


def test_time_between_programs_is_idle_and_time_within_them_is_not(tmp_path):
  step = jax.jit(lambda x: jax.lax.fori_loop(0, 50, lambda _, x: x @ x, x))
  x = jax.numpy.eye(300)
  step(x).block_until_ready()
  with jax.profiler.trace(tmp_path):
    for _ in range(3):
      step(x).block_until_ready()
      time.sleep(0.5)
  programs = trace.programs(tmp_path)
  span = max(op.end for op in programs) - programs[0].start
  assert trace.idle(programs) * span > 0.9  # two of the three pauses
  assert _busy(programs) >= _busy(trace.read(tmp_path)) - 1e-9


def _busy(ops):
  """Seconds in which some operation ran."""
  return (1 - trace.idle(ops)) * (max(op.end for op in ops) - ops[0].start)
