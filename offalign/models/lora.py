"""LoRA: low-rank adapters on frozen weights (arXiv:2106.09685).

The adapters are a params tree of their own, {..., module: {"a": [L, n, r],
"b": [L, r, m]}}, with one pair for each adapted linear map of the layers. The
frozen weights are those that the run started from, so the reference is the
same arrays with the adapters off: there is no second copy.

The matrix W + A B is never formed in training: `combine` puts a `LowRank`
in place of W, and models only ever compute `x @ kernel`, which `LowRank`
supports.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from offalign import spec
from offalign.errors import UserError, option, suggest
from offalign.models.base import Model
from offalign.types import Array, Params

_GROUPS = {"attention": ("query", "key", "value", "out")}


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """LoRA options: the adapters' rank, scale and places.

  Attributes:
    rank: r, the rank of each adapter.
    alpha: an adapter's product is multiplied by alpha / rank.
    targets: which linear maps of the layers get an adapter, with commas:
      names of maps ("query", "key", "value", "out", "gate", "up", "down"; in
      encoder and decoder alike), "attention" for the first four, or "all".
  """

  rank: int = 16
  alpha: float = 32.0
  targets: str = "all"

  def __post_init__(self) -> None:
    spec.check_fields("lora", self)
    if self.rank < 1:
      raise UserError(
        f"{option('lora.rank')} must be at least 1, not {self.rank}"
      )
    if self.alpha <= 0:
      raise UserError(
        f"{option('lora.alpha')} must be above 0, not {self.alpha}"
      )

  @property
  def scale(self) -> float:
    """The factor on A B, alpha / rank."""
    return self.alpha / self.rank


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("kernel", "a", "b"),
  meta_fields=("scale",),
)
@dataclasses.dataclass(frozen=True)
class LowRank:
  """The matrix W + scale A B, kept as factors to multiply by.

  Attributes:
    kernel: W, [n, m]; with layers stacked, [L, n, m].
    a: [n, r], or [L, n, r].
    b: [r, m], or [L, r, m].
    scale: a number.
  """

  kernel: Array
  a: Array
  b: Array
  scale: float

  def __rmatmul__(self, x: Array) -> Array:
    """[..., n] -> [..., m]."""
    return x @ self.kernel + self.scale * ((x @ self.a) @ self.b)


def targets(config: LoraConfig, params: Params) -> dict[tuple[str, ...], Any]:
  """Finds the kernels to adapt, by the path of their module.

  Args:
    config: the LoRA options.
    params: a model's params, or their shapes.

  Raises:
    UserError: for a name that no map has; lists the valid names.
  """
  found = {
    path[:-1]: leaf
    for path, leaf in traverse_util.flatten_dict(params).items()
    if path[-1] == "kernel"
    and any(str(key).startswith("layers") for key in path[:-1])
  }
  if not found:
    raise UserError(
      f"{option('lora.targets')} are linear maps of the model's layers, and "
      "this model has none"
    )
  names = list(dict.fromkeys(path[-1] for path in found))
  groups = {"all": tuple(names), **_GROUPS}
  chosen: set[str] = set()
  for word in (part.strip() for part in config.targets.split(",")):
    wanted = groups.get(word, (word,))
    if missing := [name for name in wanted if name not in names]:
      valid = [*names, *groups]
      raise UserError(
        f"{option('lora.targets')} has {word!r}, but this model has no map "
        f"{missing[0]!r}{suggest(missing[0], valid)} (there is: "
        f"{', '.join(valid)})"
      )
    chosen.update(wanted)
  return {path: leaf for path, leaf in found.items() if path[-1] in chosen}


def init(config: LoraConfig, rng: Array, params: Params) -> Params:
  """Initialises adapters: a uniform within 1/sqrt(n), b 0 (no effect yet).

  Args:
    config: the LoRA options.
    rng: a key.
    params: the frozen weights, or their shapes.

  Returns:
    The adapters, in float32 or wider.
  """
  flat: dict[tuple[str, ...], Array] = {}
  for i, (path, kernel) in enumerate(targets(config, params).items()):
    layers, n, m = kernel.shape
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    flat[*path, "a"] = n**-0.5 * jax.random.uniform(
      jax.random.fold_in(rng, i),
      (layers, n, config.rank),
      dtype,
      minval=-1,
      maxval=1,
    )
    flat[*path, "b"] = jnp.zeros((layers, config.rank, m), dtype)
  return traverse_util.unflatten_dict(flat)


def combine(
  config: LoraConfig, params: Params | None, adapters: Params
) -> Params:
  """Combines frozen weights and adapters into params for the model.

  Nothing is copied. Adapters are used in the dtype of the weights.

  Args:
    config: the LoRA options.
    params: the frozen weights.
    adapters: from `init`; {} = no adapters, which returns `params`.

  Raises:
    UserError: where `params` is None.
  """
  if params is None:
    raise UserError(
      "adapters need the weights that they belong to: give them as ref_params"
    )

  def beside(kernel: Array, a: Array, b: Array) -> LowRank:
    dtype = kernel.dtype
    return LowRank(kernel, a.astype(dtype), b.astype(dtype), config.scale)

  return _replace(params, adapters, beside)


def adapters_in(params: Params) -> Params:
  """The adapters that `combine` put into params, in its dtypes; {} for none."""
  flat: dict[tuple[str, ...], Array] = {}
  for (*path, _), leaf in traverse_util.flatten_dict(params).items():
    if isinstance(leaf, LowRank):
      flat[*path, "a"], flat[*path, "b"] = leaf.a, leaf.b
  return traverse_util.unflatten_dict(flat)


def merge(config: LoraConfig, params: Params, adapters: Params) -> Params:
  """Merges adapters into the weights: W + scale A B, in the dtype of W."""

  def add(kernel: Array, a: Array, b: Array) -> Array:
    product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
    return (kernel + config.scale * product).astype(kernel.dtype)

  return _replace(params, adapters, add)


def _replace(params: Params, adapters: Params, make: Any) -> Params:
  flat = traverse_util.flatten_dict(params)
  own = traverse_util.flatten_dict(adapters)
  for *path, name in own:
    if name == "a":
      kernel = flat[*path, "kernel"]
      flat[*path, "kernel"] = make(kernel, own[*path, "a"], own[*path, "b"])
  return traverse_util.unflatten_dict(flat)


def over(model: Model, config: LoraConfig, base: Params | None) -> Model:
  """Wraps a model so that its params are the adapters alone.

  Args:
    model: the plain model.
    config: the LoRA options.
    base: the frozen weights.

  Returns:
    A model whose params are adapters; {} is the plain model at `base`. The
    `init` of the result is still that of the plain model.
  """

  def on_adapters(function: Any) -> Any:
    if function is None:
      return None

    def call(adapters: Params, *args: Any) -> Any:
      return function(combine(config, base, adapters), *args)

    return call

  def part(whole: Any, *names: str) -> Any:
    """With these functions on adapters; None stays None."""
    if whole is None:
      return None
    own = {name: on_adapters(getattr(whole, name)) for name in names}
    return dataclasses.replace(whole, **own)

  packed = ("hidden_packed", "prompt_state_packed")
  functions = ("hidden", "prompt_state", "unembedding", "prefill", "decode")
  return dataclasses.replace(
    part(model, *functions, *packed),
    routing=part(model.routing, "hidden", "hidden_packed"),
    encoder=part(model.encoder, "state", "state_packed"),
    rows=None,  # its params are no weights of layers
  )
