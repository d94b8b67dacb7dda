"""Reading compiled programs; bytes and FLOPs known by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offalign.planning import hlo, traced_flops, traffic

LAYERS, N, D = 5, 8, 64  # N devices

# Lines of a program for TPUs, but for what nothing here reads.
TPU = """\
HloModule jit_step, is_scheduled=true

%add.1 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.9 (input.9: bf16[64,128]) -> bf16[8,128] {
  %input.9 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %all-reduce.2 = bf16[64,128]{1,0:T(8,128)(2,1)} all-reduce(%input.9), \
channel_id=5, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add.1
  ROOT %part = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} dynamic-slice(%all-reduce.2, \
%zero, %zero), dynamic_slice_sizes={8,128}
}

%fused_computation.1 (p.1: bf16[1,16]) -> bf16[8,16] {
  %p.1 = bf16[1,16]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[8,16]{1,0} all-gather(%p.1), channel_id=7, \
replica_groups=mesh['axis_0'=2,'axis_1'=8] {'axis_1'}, dimensions={0}
}

%async_collective_fusion.2 (p.2: bf16[1,16]) -> bf16[8,16] {
  %p.2 = bf16[1,16]{1,0} parameter(0)
  ROOT %all-gather.2 = bf16[8,16]{1,0} all-gather(%p.2), channel_id=7, \
replica_groups=mesh['axis_0'=2,'axis_1'=8] {'axis_1'}, dimensions={0}
}

%ring_test (t.1: (u32[], bf16[4,32])) -> pred[] {
  %limit.1 = u32[]{:T(128)} constant(8)
  %t.1 = (u32[]{:T(128)}, bf16[4,32]{1,0}) parameter(0)
  %i.1 = u32[]{:T(128)} get-tuple-element(%t.1), index=0
  ROOT %less.1 = pred[]{:T(512)} compare(%i.1, %limit.1), direction=LT
}

%ring (t.2: (u32[], bf16[4,32])) -> (u32[], bf16[4,32]) {
  %two = u32[]{:T(128)} constant(2)
  %t.2 = (u32[]{:T(128)}, bf16[4,32]{1,0}) parameter(0)
  %i.2 = u32[]{:T(128)} get-tuple-element(%t.2), index=0
  %x.2 = bf16[4,32]{1,0} get-tuple-element(%t.2), index=1
  %next.2 = u32[]{:T(128)} add(%i.2, %two)
  %send = (bf16[4,32]{1,0}, bf16[4,32]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%x.2), channel_id=9, source_target_pairs={{0,1},{1,0}}
  %sent = bf16[4,32]{1,0} collective-permute-done(%send)
  ROOT %out.2 = (u32[]{:T(128)}, bf16[4,32]{1,0}) tuple(%next.2, %sent)
}

%layers_test (t.3: (s32[], bf16[4,32], bf16[3,4,32])) -> pred[] {
  %limit.3 = s32[]{:T(128)} constant(3)
  %t.3 = (s32[]{:T(128)}, bf16[4,32]{1,0}, bf16[3,4,32]{2,1,0}) parameter(0)
  %i.3 = s32[]{:T(128)} get-tuple-element(%t.3), index=0
  ROOT %less.3 = pred[]{:T(512)} compare(%i.3, %limit.3), direction=LT
}

%layers (t.4: (s32[], bf16[4,32], bf16[3,4,32])) -> \
(s32[], bf16[4,32], bf16[3,4,32]) {
  %one = s32[]{:T(128)} constant(1)
  %start.5 = u32[]{:T(128)} constant(0)
  %copy.5 = u32[]{:T(128)} copy(%start.5)
  %t.4 = (s32[]{:T(128)}, bf16[4,32]{1,0}, bf16[3,4,32]{2,1,0}) parameter(0)
  %i.4 = s32[]{:T(128)} get-tuple-element(%t.4), index=0
  %x.4 = bf16[4,32]{1,0} get-tuple-element(%t.4), index=1
  %kept.4 = bf16[3,4,32]{2,1,0} get-tuple-element(%t.4), index=2
  %next.4 = s32[]{:T(128)} add(%i.4, %one)
  %carry.5 = (u32[]{:T(128)}, bf16[4,32]{1,0}) tuple(%copy.5, %x.4)
  %while.5 = (u32[]{:T(128)}, bf16[4,32]{1,0}) while(%carry.5), \
condition=%ring_test, body=%ring, \
metadata={op_name="jit(step)/jvp()/while/body/dot_general"}
  %y.4 = bf16[4,32]{1,0} get-tuple-element(%while.5), index=1
  %new.4 = bf16[3,4,32]{2,1,0} dynamic-update-slice(%kept.4, %y.4, %i.4)
  ROOT %out.4 = (s32[]{:T(128)}, bf16[4,32]{1,0}, bf16[3,4,32]{2,1,0}) \
tuple(%next.4, %y.4, %new.4)
}

ENTRY %main (x: bf16[4,32], w: bf16[64,128], g: bf16[1,16]) -> bf16[4,32] {
  %x = bf16[4,32]{1,0} parameter(0)
  %w = bf16[64,128]{1,0} parameter(1)
  %g = bf16[1,16]{1,0} parameter(2)
  %start.6 = s32[]{:T(128)} constant(0)
  %room = bf16[3,4,32]{2,1,0} custom-call(), \
custom_call_target="AllocateBuffer"
  %carry.6 = (s32[]{:T(128)}, bf16[4,32]{1,0}, /*index=2*/bf16[3,4,32]{2,1,0}) \
tuple(%start.6, %x, /*index=2*/%room)
  %while.6 = (s32[]{:T(128)}, bf16[4,32]{1,0}, bf16[3,4,32]{2,1,0}) \
while(%carry.6), condition=%layers_test, body=%layers, \
metadata={op_name="jit(step)/jvp()/while"}
  %scattered = bf16[8,128]{1,0} fusion(%w), kind=kCustom, \
calls=%all-reduce-scatter.9
  %early = bf16[8,16]{1,0} fusion(%g), kind=kCustom, \
calls=%fused_computation.1
  %late = bf16[8,16]{1,0} fusion(%g), kind=kCustom, \
calls=%async_collective_fusion.2
  ROOT %last = bf16[4,32]{1,0} get-tuple-element(%while.6), index=1
}
"""


def test_a_program_for_tpus_is_read():
  """Loops have no trip count there, and fusions share a collective."""
  module = hlo.parse(TPU)
  assert module.entry == "main"
  runs = module.runs()
  assert (runs["layers"], runs["ring"]) == (3, 3 * 4)
  found = traffic.collectives(module, 8)
  assert {kind: (x.calls, x.sent) for kind, x in found.items()} == {
    "collective-permute": (12, 12 * 4 * 32 * 2),
    "reduce-scatter": (1, 64 * 128 * 2 * 7 / 8),
    "all-gather": (1, 7 * 16 * 2),
  }
  # The ring keeps nothing for the backward pass, the layers their results.
  assert traffic.kept(module) == 3 * 4 * 32 * 2


def test_a_loop_that_counts_to_what_is_not_known_is_refused():
  text = TPU.replace("%limit.3 = s32[]{:T(128)} constant(3)", "")
  with pytest.raises(ValueError, match=r"while\.6 does not count"):
    hlo.parse(text).runs()


@pytest.fixture(scope="module")
def mesh():
  return Mesh(jax.devices()[:N], ("x",))


def compiled(fn, *args):
  return hlo.parse(jax.jit(fn).lower(*args).compile().as_text())


def test_collectives_in_a_scan_count_as_often_as_it_runs(mesh):
  def layer(x, w):
    whole = jax.lax.all_gather(w, "x", axis=0, tiled=True)  # [D, D]
    x = jnp.tanh(x @ whole)  # [D, D]
    x = jax.lax.ppermute(x, "x", [(i, (i + 1) % N) for i in range(N)])
    part = jax.lax.psum_scatter(x, "x", tiled=True)  # [D / N, D]
    back = jax.lax.all_to_all(part, "x", 1, 1, tiled=True)
    return x + jnp.tile(back, (N, 1)), None

  def program(x, ws):
    x, _ = jax.lax.scan(layer, x, ws)
    return jax.lax.psum(x, "x")

  spec = PartitionSpec(None, "x", None)
  mapped = jax.shard_map(
    program,
    mesh=mesh,
    in_specs=(PartitionSpec(), spec),
    out_specs=PartitionSpec(),
    check_vma=False,
  )
  x = jax.ShapeDtypeStruct((D, D), jnp.float32)
  ws = jax.ShapeDtypeStruct((LAYERS, D, D), jnp.float32)
  module = compiled(mapped, x, ws)
  found = traffic.collectives(module, N)
  square, share = D * D * 4, (N - 1) / N
  assert {kind: x.sent for kind, x in found.items()} == {
    "all-gather": LAYERS * square * share,
    "collective-permute": LAYERS * square,
    "reduce-scatter": LAYERS * square * share,
    "all-to-all": LAYERS * square / N * share,
    "all-reduce": 2 * square * share,
  }
  assert traffic.flops(module) == LAYERS * 2 * D**3


def test_products_as_compiled_are_those_that_are_written(mesh):
  def loss(ws, x):
    x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)
    return jnp.sum(x * x)

  rows = NamedSharding(mesh, PartitionSpec("x"))
  ws = jax.ShapeDtypeStruct((LAYERS, D, D), jnp.float32)
  x = jax.ShapeDtypeStruct((2 * N, D), jnp.float32, sharding=rows)
  written = traced_flops.flops(jax.make_jaxpr(jax.grad(loss, (0, 1)))(ws, x))
  assert written == 3 * LAYERS * 2 * (2 * N) * D * D
  module = compiled(jax.grad(loss, (0, 1)), ws, x)
  assert traffic.flops(module) == written / N
  # Each device keeps what tanh gave for its own two rows of each layer, and
  # perhaps what went into it.
  assert traffic.kept(module) in [LAYERS * 2 * D * 4 * n for n in (1, 2, 3)]


@pytest.mark.parametrize(
  ("line", "expected"),
  [
    # [b, m, k] x [k, n], as a convolution over m with a window of 1.
    (
      "%c = f32[8,32,16]{2,1,0} convolution(%l, %r), window={size=1}, "
      "dim_labels=b0f_0io->b0f",
      2 * 8 * 32 * 64 * 16,
    ),
    # 8 products of their own: each place of the window meets one place.
    (
      "%c = f32[8,32,16]{2,1,0} convolution(%l, %q), "
      "window={size=8 stride=7 lhs_dilate=8}, dim_labels=0bf_0io->0bf",
      2 * 8 * 32 * 64 * 16,
    ),
  ],
)
def test_products_that_are_written_as_convolutions(line, expected):
  text = f"""\
ENTRY %main () -> f32[8,32,16] {{
  %l = f32[8,32,64]{{2,1,0}} parameter(0)
  %r = f32[1,64,16]{{2,1,0}} parameter(1)
  %q = f32[8,64,16]{{2,1,0}} parameter(2)
  ROOT {line}
}}
"""
  assert traffic.flops(hlo.parse(text)) == expected


@pytest.mark.parametrize(
  ("groups", "expected"),
  [
    ("replica_groups={{0,1},{2,3}}, dimensions={0}", 2),
    ("replica_groups=[2,4]<=[8], dimensions={0}", 4),
    ("replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={0}", 4),
    ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}, dimensions={0}", 8),
    ("replica_groups=mesh['a'=8] {'a':(1)2}, dimensions={0}", 2),
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, "
      "dimensions={0}",
      4,
    ),
    ("replica_groups={}, dimensions={0}", 8),
  ],
)
def test_groups_are_told_in_every_spelling(groups, expected):
  text = f"""\
ENTRY %main () -> f32[64] {{
  %p = f32[4]{{0}} parameter(0)
  ROOT %g = f32[64]{{0}} all-gather(%p), {groups}
}}
"""
  found = traffic.collectives(hlo.parse(text), 8)
  assert found["all-gather"].sent == 16 * (expected - 1)


def test_groups_in_an_unknown_spelling_are_refused():
  text = """\
ENTRY %main () -> f32[64] {
  %p = f32[4]{0} parameter(0)
  ROOT %g = f32[64]{0} all-gather(%p), replica_groups=torus(0), dimensions={0}
}
"""
  with pytest.raises(ValueError, match="unknown spelling"):
    traffic.collectives(hlo.parse(text), 8)
