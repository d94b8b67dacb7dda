"""Splash attention over prompts and their completions, in one call a layer.

The kernel (`jax.experimental.pallas.ops.tpu.splash_attention`) skips blocks of
scores that a mask rules out, if the mask is known when the step is compiled.
That of [prompt | y_1 | ... | y_K] is: a prompt sees its past, a completion the
prompt and its own past. So attention over the prompt and over a completion
need not be merged, for which the kernel's log-sum-exp would have to have a
gradient; the gradient is the kernel's own.

Padding is data. It is a segment of its own; windows, which count positions,
need it to lie before the prompts (`positions.aligned`), so that positions
differ as columns do.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernel_lib,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as mask_lib,
)
from jax.sharding import PartitionSpec

from offalign.distributed import constraints, sharding
from offalign.models import kernels
from offalign.types import Array

LARGEST = 512
"""Most tokens in a block."""
_LANES = 128  # blocks are multiples of it


@dataclasses.dataclass(frozen=True)
class Layout(mask_lib.Mask):
  """Who sees whom in [prompt | y_1 | ... | y_K | filler], padding aside.

  Attributes:
    prompt: P.
    completions: K.
    completion: T.
    prefix_lm: whether a prompt token also sees those after itself.
    window: how many positions a query sees, its own included; None for no
      limit.
  """

  prompt: int
  completions: int
  completion: int
  prefix_lm: bool = False
  window: int | None = None

  @property
  def length(self) -> int:
    """S, without filler."""
    return self.prompt + self.completions * self.completion

  @property
  def block(self) -> int:
    """Tokens in a block of queries or keys."""
    blocks = math.ceil(self.length / LARGEST)
    return math.ceil(self.length / blocks / _LANES) * _LANES

  @property
  def shape(self) -> tuple[int, int]:
    """(S, S) with the filler that makes S a multiple of the block."""
    size = math.ceil(self.length / self.block) * self.block
    return size, size

  def __getitem__(self, index: Any) -> np.ndarray:
    """The mask of slices of queries and keys, bool [rows, columns].

    The kernel's mask is made of every block, so one that is all or nothing is
    not made anew.
    """
    rows, columns = (np.arange(part.start, part.stop) for part in index)
    known = self._known(rows, columns)
    if known is not None:
      return _constant(len(rows), len(columns), known)
    return self._seen(rows[:, None], columns[None])

  def _owner(self, index: np.ndarray) -> np.ndarray:
    """The completion of a column: -1 for the prompt; from K on, filler."""
    after = (index - self.prompt) // self.completion
    return np.where(index < self.prompt, -1, after)

  def _place(self, index: np.ndarray) -> np.ndarray:
    """The position of a column, up to a constant of the row."""
    after = self.prompt + (index - self.prompt) % self.completion
    return np.where(index < self.prompt, index, after)

  def _seen(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    of, by = self._owner(keys), self._owner(queries)
    own = keys <= queries
    if self.prefix_lm:
      own = own | (by < 0)
    asked = (of < 0) & (by >= 0) & (by < self.completions)
    seen = ((of == by) & own) | asked
    if self.window is not None:
      near = self._place(queries) - self._place(keys) < self.window
      seen = seen & near
    return seen

  def _known(self, rows: np.ndarray, columns: np.ndarray) -> bool | None:
    """The one value of a block, where its corners tell; else None."""
    first, last = rows[0], rows[-1]
    low, high = columns[0], columns[-1]
    by, of = self._owner(first), self._owner(low)
    if by != self._owner(last) or of != self._owner(high):
      return None
    if of != by and (of >= 0 or by >= self.completions):
      return False
    if of == by and not (self.prefix_lm and by < 0):
      if low > last:
        return False
      if high > first:
        return None
    if self.window is not None:
      if self._place(first) - self._place(high) >= self.window:
        return False
      if self._place(last) - self._place(low) >= self.window:
        return None
    return True


@functools.lru_cache(maxsize=16)
def _constant(rows: int, columns: int, value: bool) -> np.ndarray:
  made = np.full((rows, columns), value)
  made.flags.writeable = False
  return made


def attend(
  q: Array,
  k: Array,
  v: Array,
  prompt_mask: Array,
  *,
  layout: Layout,
  scale: float | None = None,
  cap: float | None = None,
  share: float = 1.0,
) -> Array:
  """Softmax attention of prompts and their completions, [B, S, H, D].

  Queries are multiplied by the scale before the kernel has them, and rounded
  to their dtype. Scores, softmax and sums are in float32.

  Args:
    q: [B, S, H, D].
    k: [B, S, G, D]; see `layers.attend`.
    v: [B, S, G, D].
    prompt_mask: bool [B, P]; if there is a window, padding comes first. A
      token of the padding sees padding.
    layout: who sees whom.
    scale: what the scores are multiplied by; 1/sqrt(D) by default.
    cap: the bound on the scores, see `layers.attend`.
    share: how often a layer takes this call, for the count of FLOPs.
  """
  b, s = q.shape[:2]
  scale = q.shape[-1] ** -0.5 if scale is None else scale
  q = (q.astype(jnp.float32) * scale).astype(q.dtype)
  room = (0, layout.shape[0] - s)
  rest = jnp.ones((b, layout.shape[0] - layout.prompt), jnp.int32)
  segments = jnp.concatenate([prompt_mask.astype(jnp.int32), rest], axis=1)
  q, k, v = (jnp.pad(x, ((0, 0), room, (0, 0), (0, 0))) for x in (q, k, v))
  local = functools.partial(_local, layout=layout, cap=cap, share=share)
  mesh = constraints.mesh()
  if mesh is not None:
    rows = PartitionSpec(sharding.BATCH_AXES)
    heads = PartitionSpec(sharding.BATCH_AXES, None, "tensor")
    # No device's part is another's; a kernel cannot say so.
    local = jax.shard_map(
      local,
      in_specs=(heads, heads, heads, rows),
      out_specs=heads,
      check_vma=False,
    )
  return local(q, k, v, segments)[:, :s]


def _local(
  q: Array,
  k: Array,
  v: Array,
  segments: Array,
  *,
  layout: Layout,
  cap: float | None,
  share: float,
) -> Array:
  """Attention of the rows and heads of a device."""
  b, _, h, d = q.shape
  kernel = _kernel(layout, h, cap)
  scores = share * pairs(layout) * b * h
  q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
  ids = kernel_lib.SegmentIds(segments, segments)
  with jax.named_scope(counted(2 * scores * d)):
    mixed = jax.vmap(kernel)(q, k, v, ids)
  return mixed.swapaxes(1, 2)


def _kernel(layout: Layout, heads: int, cap: float | None) -> Any:
  n = layout.block
  names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute")
  sizes: dict[str, Any] = {
    f"block_{name}": n for name in (*names, "q_dq", "kv_dq")
  }
  return kernel_lib.make_splash_mha(
    mask_lib.MultiHeadMask([layout] * heads),
    block_sizes=kernel_lib.BlockSizes(**sizes),
    attn_logits_soft_cap=cap,
    head_shards=1,
    q_seq_shards=1,
    interpret=kernels.INTERPRETED,
  )


@functools.lru_cache(maxsize=64)
def pairs(layout: Layout) -> int:
  """Pairs of a query and a key whose score the kernel computes, a head."""
  n = layout.block
  starts = range(0, layout.shape[0], n)
  found = sum(
    bool(layout[slice(i, i + n), slice(j, j + n)].any())
    for i in starts
    for j in starts
  )
  return found * n * n


def counted(flops: float) -> str:
  """Names a call after the FLOPs of one of its matrix products.

  A compiled kernel shows no products, so those who count FLOPs read the name
  (`offalign.planning.kernel_flops`).
  """
  return f"splash_product_{round(flops)}_flops"
