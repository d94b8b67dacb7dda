"""FLOPs of a step as written, counted before the compiler changes it."""

import math
from typing import Any

from jax.extend import core

from offalign.planning import kernel_flops


def flops(jaxpr: Any, scope: str = "") -> float:
  """Counts FLOPs of the matrix products in a jaxpr, over all devices.

  A multiplication with an addition counts as two; the body of a scan counts
  as often as it runs, and a part that each device of a mesh runs on its own
  rows (`shard_map`, as experts are) for every device. Products recomputed in
  the backward pass count twice. Of a mixture of experts, those that tokens
  take count, and the padding of their blocks; of attention kernels, see
  `kernel_flops`.

  Args:
    jaxpr: closed or not; without loops of unknown length.
    scope: names of the scopes that the jaxpr is called in.
  """
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  total = 0.0
  for equation in jaxpr.eqns:
    inside = f"{scope}/{equation.source_info.name_stack}"
    if equation.primitive.name == "pallas_call":
      total += kernel_flops.flops(inside)
      continue
    if equation.primitive.name == "dot_general":
      (left, _), _ = equation.params["dimension_numbers"]
      shape = equation.invars[0].aval.shape
      depth = math.prod(shape[i] for i in left)
      total += 2.0 * depth * math.prod(equation.outvars[0].aval.shape)
    times = equation.params.get("length", 1)
    if equation.primitive.name == "shard_map":
      times = math.prod(equation.params["mesh"].shape.values())
    for value in equation.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        if isinstance(inner, core.Jaxpr | core.ClosedJaxpr):
          total += times * flops(inner, inside)
  return total
