"""FLOPs of attention kernels, whose matrix products no program shows.

A call of splash attention is traced in a scope that is named after the FLOPs
of one of its products on one device (`offalign.models.splash.counted`). They
are those of the blocks that the kernel computes, so scores that a mask hides
within a block count. The name stays in the compiled program.
"""

import re

PRODUCTS = {"fwd": 2, "dq": 3, "dkv": 4}
"""Kernel -> its products: scores and mixed values; in the backward pass,
scores and their gradient again in each kernel, and one or two gradients."""


def flops(name: str) -> float:
  """FLOPs of one call on one device; 0 for what is no such call.

  Args:
    name: the scopes of a traced equation, or a compiled line's attributes.

  >>> flops("a/splash_product_100_flops/b/splash_mha_dq_no_residuals")
  300.0
  """
  one = re.search(r"splash_product_(\d+)_flops", name)
  kernel = re.search(r"splash_m[hq]a_(fwd|dq|dkv)_", name)
  if one is None or kernel is None:
    return 0.0
  return float(int(one[1]) * PRODUCTS[kernel[1]])
