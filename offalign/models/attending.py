"""Choose how attention is computed: dense, blockwise, or a device's kernel.

Dense attention is fastest for short sequences, and holds every score. The
choice changes memory and time; results differ by rounding alone.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax

from offalign.distributed import constraints
from offalign.errors import UserError, option
from offalign.models import blockwise, layers
from offalign.models.base import Model
from offalign.models.positions import RelativeBias
from offalign.models.sight import Sight
from offalign.types import Array

AttentionPath = Literal["auto", "dense", "blockwise"]
"""How attention is computed: chosen by length and device, all scores at once,
or a block of them at a time."""
DENSE_SCORES = 512 * 512
"""Most scores of a head and row that "auto" computes at once."""
_SIZES = {"cpu": 128}
"""Platform -> tokens in a block, which suit its caches or matrix units."""


class Bias(NamedTuple):
  """A relative position bias in the form that the chosen path takes.

  Attributes:
    dense: [1, H, T, S], or None.
    by_distance: [H, T + S - 1], see `blockwise.attend`, or None.
  """

  dense: Array | None = None
  by_distance: Array | None = None


@dataclasses.dataclass(frozen=True)
class Attend:
  """Attention of a model: (q, k, v, sight, bias) -> `layers.Attended`.

  Attributes:
    path: how it is computed.
    scale: what scores are multiplied by; None: 1/sqrt(D).
    cap: the bound on scores, or None.
    by_head: whether keys and values are those of `layers.by_head`; of one
      query alone.
  """

  path: AttentionPath = "auto"
  scale: float | None = None
  cap: float | None = None
  by_head: bool = False

  def is_dense(self, queries: int, keys: int) -> bool:
    """Whether T queries and S keys are computed at once.

    Those of one query, as in decoding, always are: their scores are no more
    than the keys.
    """
    if self.path == "auto":
      return queries * keys <= DENSE_SCORES or queries == 1
    return self.path == "dense" or queries == 1

  def ready(self, sight: Sight, queries: int, keys: int) -> Sight:
    """Makes the mask before the layers, where each would make it again."""
    return sight.whole(queries) if self.is_dense(queries, keys) else sight

  def bias(self, relative: RelativeBias, queries: Array, keys: Array) -> Bias:
    """The bias between indices [T] and [S], each of them ascending by one."""
    if self.is_dense(len(queries), len(keys)):
      return Bias(dense=relative(queries, keys))
    return Bias(by_distance=relative.by_distance(len(queries), len(keys)))

  def __call__(
    self,
    q: Array,
    k: Array,
    v: Array,
    sight: Sight,
    bias: Bias | None = None,
  ) -> layers.Attended:
    """Queries [B, T, H, D], keys and values [B, S, G, D]."""
    bias = Bias() if bias is None else bias
    t, s = q.shape[1], k.shape[1]
    if self.by_head or self.is_dense(t, s):
      return layers.attend(
        q,
        k,
        v,
        sight.mask(t),
        bias=bias.dense,
        scale=self.scale,
        cap=self.cap,
        by_head=self.by_head,
      )
    return blockwise.attend(
      q,
      k,
      v,
      sight,
      by_distance=bias.by_distance,
      scale=self.scale,
      cap=self.cap,
      largest=_SIZES.get(platform()),
    )


def platform() -> str:
  """What the function being traced is for: "cpu", "gpu" or "tpu"."""
  mesh = constraints.mesh()
  device = None if mesh is None else mesh.abstract_device
  return jax.default_backend() if device is None else device.platform


def describe(path: AttentionPath) -> str:
  """Says how attention is computed, for the header of a run.

  >>> describe("dense")
  'attention is dense'
  """
  if path != "auto":
    return f"attention is {path}"
  return (
    f"attention is dense up to {DENSE_SCORES:,} scores a head, and blockwise "
    "above"
  )


def choose(model: Model, path: AttentionPath) -> Model:
  """The same model with that path.

  Raises:
    UserError: for a model that does not choose how it computes attention.
  """
  if path == "auto":
    return model
  if model.attending is None:
    raise UserError(
      f"{option('attention', path)} is set, but {model.spec} does not choose "
      "how it computes attention; leave it out"
    )
  return model.attending(path)
