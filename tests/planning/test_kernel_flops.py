"""FLOPs of kernels, traced and as the TPU's compiler prints them."""

import doctest

import jax
import jax.numpy as jnp
import pytest

from offalign.models import splash
from offalign.planning import hlo, kernel_flops, traced_flops, traffic

# One call as the compiler prints it: over three lines.
CALL = """\
HloModule jit_step, is_scheduled=true

ENTRY %main (q: bf16[2,4,256,16]) -> bf16[2,4,256,16] {
  %q = bf16[2,4,256,16]{3,2,1,0} parameter(0)
  %splash.1 = (f32[2,128,16]{2,1,0}, bf16[2,4,256,16]{3,2,1,0:T(8,128)(2,1)}) \
custom-call(%q), custom_call_target="tpu_custom_call", \
frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128, \\"block_kv\\": 128}"
}}, metadata={op_name="jit(step)/shard_map/splash_product_1000_flops/\
vmap(static)/jit(_splash)/splash_mha_fwd_segmented_residuals/pallas_call"}
  %some.2 = bf16[2,4,256,16]{3,2,1,0} get-tuple-element(%splash.1), index=1, \
frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128, \\"block_kv\\": 128}"
}}, metadata={op_name="jit(step)/shard_map/splash_product_1000_flops/\
vmap(static)/jit(_splash)/splash_mha_fwd_segmented_residuals/pallas_call"}
  ROOT %last.3 = bf16[2,4,256,16]{3,2,1,0} copy(%some.2)
}
"""


def test_a_kernel_of_several_lines_is_one_call():
  module = hlo.parse(CALL)
  assert list(module.computations["main"]) == [
    "q",
    "splash.1",
    "some.2",
    "last.3",
  ]
  assert traffic.flops(module) == 2 * 1000


def test_names():
  assert doctest.testmod(kernel_flops).failed == 0
  assert kernel_flops.flops("jit(step)/splash_product_5_flops/add") == 0
  assert kernel_flops.flops("splash_mha_fwd_residuals") == 0


@pytest.mark.parametrize(("backward", "products"), [(False, 2), (True, 9)])
def test_a_step_with_a_kernel(backward, products):
  b, p, t, h, d = 3, 256, 128, 4, 16
  layout = splash.Layout(p, 2, t)
  q, keys = jnp.zeros((b, p + 2 * t, h, d)), jnp.zeros((b, p + 2 * t, 2, d))

  def step(q):
    real = jnp.ones((b, p), bool)
    return splash.attend(q, keys, keys, real, layout=layout).sum()

  traced = jax.make_jaxpr(jax.grad(step) if backward else step)(q)
  # Sums of results times gradients, for the backward pass, are no kernel's.
  other = 2 * b * h * layout.shape[0] * d if backward else 0
  one = 2 * b * h * d * splash.pairs(layout)
  assert traced_flops.flops(traced) == products * one + other
