"""From Flax NNX modules to `Model`: pure functions over params."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from offalign.models.attending import AttentionPath
from offalign.models.base import Encoder, Model, Remat, Routing
from offalign.types import Array, Params


def as_model(
  build: Callable[[nnx.Rngs], nnx.Module],
  *,
  spec: str,
  vocab_size: int,
  width: int,
  max_positions: int | None = None,
  remat: Remat = "none",
  path: AttentionPath = "auto",
) -> Model:
  """Turns a Flax NNX module into a `Model`, functions over its params.

  Args:
    build: rngs -> a module with the methods `hidden`, `prompt_state`,
      `unembedding`, `prefill`, `decode`, `hidden_packed` and
      `prompt_state_packed`, which are those of `Model` without the params
      argument; with attributes `splits` and, if its logits are bounded,
      `softcap`; if rows of its cache can be exchanged, `rows`; if it chooses
      how attention is computed, `no_kernel`; and, if `in_pieces` is true,
      `extend`. A mixture
      of experts has `experts` (see
      `offalign.models.decoder.config.Mixture`), `hidden_routed` and
      `hidden_packed_routed`, which are those of `Routing`. One with an encoder
      has `encoder_parts`, the attributes that the encoder uses,
      `encoder_state` and `encoder_state_packed`; see `Encoder`.
    spec: see `Model`.
    vocab_size: V.
    width: d.
    max_positions: see `Model`; default: the module's attribute of that name,
      if it has one.
    remat: set on every part of the module that has an attribute `remat`.
    path: how attention is computed; set on every part of the module that has
      an attribute `attention_path`.
  """
  module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
  for _, part in nnx.iter_modules(module):
    if hasattr(part, "remat"):
      part.remat = remat
    if hasattr(part, "attention_path"):
      part.attention_path = path
  graph, abstract = nnx.split(module)

  def init(rng: Array) -> Params:
    return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(rng))))

  def method(name: str) -> Callable[..., Any]:
    def call(params: Params, *args: Any, **kwargs: Any) -> Any:
      return getattr(nnx.merge(graph, params), name)(*args, **kwargs)

    return call

  def alone(name: str) -> Callable[..., Any]:
    """A method for which the params that it leaves alone need not be there."""
    shapes, run = nnx.to_pure_dict(abstract), method(name)
    return lambda params, *args: run({**shapes, **params}, *args)

  about: dict[str, Any] = {
    "spec": spec,
    "vocab_size": vocab_size,
    "width": width,
    "max_positions": max_positions or getattr(module, "max_positions", None),
  }
  mixture = getattr(module, "experts", None)
  routing = None
  if mixture is not None:
    routing = Routing(
      experts=mixture.count,
      chosen=mixture.chosen,
      balance=mixture.balance,
      hidden=method("hidden_routed"),
      hidden_packed=method("hidden_packed_routed"),
    )
  encoder, used = None, getattr(module, "encoder_parts", ())
  if used:
    encoder = Encoder(
      params=lambda params: {k: v for k, v in params.items() if k in used},
      state=alone("encoder_state"),
      state_packed=alone("encoder_state_packed"),
    )
  return Model(
    **about,
    init=init,
    hidden=method("hidden"),
    prompt_state=method("prompt_state"),
    unembedding=method("unembedding"),
    prefill=method("prefill"),
    decode=method("decode"),
    rows=getattr(module, "rows", None),
    extend=method("extend") if getattr(module, "in_pieces", False) else None,
    softcap=getattr(module, "softcap", None),
    splits=getattr(module, "splits", {}),
    rematted=lambda remat: as_model(build, **about, remat=remat, path=path),
    attending=(
      (lambda path: as_model(build, **about, remat=remat, path=path))
      if hasattr(module, "attention_path")
      else None
    ),
    no_kernel=getattr(module, "no_kernel", None),
    hidden_packed=method("hidden_packed"),
    prompt_state_packed=method("prompt_state_packed"),
    routing=routing,
    encoder=encoder,
  )
