"""Choose how attention is computed: dense, blockwise, or a device's kernel.

Dense attention is fastest for short sequences, and holds every score. The
choice changes memory and time; results differ by rounding alone.
"""

import dataclasses
import typing
from typing import Literal, NamedTuple

import jax
from jax.sharding import Mesh

from offalign.distributed import constraints
from offalign.errors import UserError, option
from offalign.models import blockwise, kernels, layers
from offalign.models.base import Model
from offalign.models.positions import RelativeBias
from offalign.models.sight import Sight
from offalign.types import Array

AttentionPath = Literal["auto", "dense", "blockwise", "splash"]
"""How attention is computed: chosen by length and device, all scores at once,
a block of them at a time, or by the TPU's kernel what it serves and the rest
as "auto" does."""
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
    if self.path in ("auto", "splash"):
      return queries * keys <= DENSE_SCORES or queries == 1
    return self.path == "dense" or queries == 1

  def in_one_call(self, shared: kernels.Shared, heads: kernels.Heads) -> bool:
    """Whether the TPU's kernel computes attention over shared prompts.

    Of "auto", where some part of it would not be dense.

    Raises:
      UserError: where it has to and cannot.
    """
    if self.path not in ("auto", "splash"):
      return False
    t = shared.completion
    parts = (
      (shared.prompt, shared.prompt),
      (shared.completions * t, shared.prompt),
      (t, t),
    )
    if self.path == "auto" and all(self.is_dense(*part) for part in parts):
      return False
    mesh = constraints.mesh()
    why = kernels.refusal(heads, platform(), mesh)
    why = why or kernels.refused_rows(shared, mesh)
    if why is not None and self.path == "splash":
      raise UserError(refused(why))
    return why is None

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


def describe(path: AttentionPath, why: str | None = None) -> str:
  """Says how attention is computed, for the header of a run.

  Args:
    path: what was asked for.
    why: why no kernel serves, from `why_not`; "" where these devices have
      none, so that there is nothing to explain.

  >>> describe("dense")
  'attention is dense'
  """
  if path in ("dense", "blockwise"):
    return f"attention is {path}"
  dense = f"dense up to {DENSE_SCORES:,} scores a head"
  if path == "splash":
    return (
      "attention over prompts and their completions is splash; over prompts "
      f"alone it is {dense}, and blockwise above"
    )
  if why is not None:
    reason = f": {why}" if why else ""
    return f"attention is {dense}, and blockwise above{reason}"
  return (
    f"attention is {dense}; above, it is splash over prompts and their "
    "completions, and blockwise over prompts alone and packed rows"
  )


def refused(why: str) -> str:
  """The sentence for a user who asked for a kernel that does not serve.

  Args:
    why: a clause.
  """
  return f"{option('attention', 'splash')} is set, but {why}; leave it out"


def check(path: str) -> None:
  """Raises UserError for what is no path."""
  paths = typing.get_args(AttentionPath)
  if path not in paths:
    raise UserError(
      f"attention must be one of {', '.join(paths)}, not {path!r}"
    )


def choose(
  model: Model, path: AttentionPath, mesh: Mesh | None = None
) -> Model:
  """The same model with that path.

  Args:
    model: the model.
    path: how attention is computed.
    mesh: the devices that it will run on; None for one of the default kind.

  Raises:
    UserError: for a model that does not choose how it computes attention, or
      a kernel that does not serve it on these devices.
  """
  if path == "auto":
    return model
  if model.attending is None:
    raise UserError(
      f"{option('attention', path)} is set, but {model.spec} does not choose "
      "how it computes attention; leave it out"
    )
  why = why_not(model, mesh) if path == "splash" else None
  if why is not None:
    raise UserError(refused(why))
  return model.attending(path)


def why_not(model: Model, mesh: Mesh | None) -> str | None:
  """Says why no kernel of these devices computes a model's attention.

  Returns:
    A clause, or None where one does, of rows that are long enough.
  """
  if model.no_kernel is None:
    return f"no kernel is known to compute the attention of {model.spec}"
  device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
  return model.no_kernel(device.platform, mesh)
