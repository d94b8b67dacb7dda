"""Compile time, counted by jax's own events."""

import jax

from offalign.training.compiling import Compiling


def test_programs_count_while_it_is_open():
  with Compiling() as compiling:
    double = jax.jit(lambda x: 2 * x)
    double(3)
    assert compiling.programs == 1
    double(4)  # compiled before
    assert compiling.programs == 1
    assert compiling.seconds > 0
  jax.jit(lambda x: 3 * x)(3)
  assert compiling.programs == 1
  with compiling:
    jax.jit(lambda x: 4 * x)(3)
  assert compiling.programs == 2
  assert str(compiling).endswith(" s of compiling")
