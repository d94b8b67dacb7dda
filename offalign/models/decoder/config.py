"""The size of a decoder, and the switches by which families differ."""

import dataclasses
from typing import Any, Literal

from offalign.errors import UserError
from offalign.models.positions import Rope


def _switch(default: Any) -> Any:
  """A field that only a checkpoint can set, never a spec string."""
  return dataclasses.field(default=default, metadata={"spec": False})


@dataclasses.dataclass(frozen=True)
class Mixture:
  """A mixture of experts in place of the MLP (arXiv:2101.03961).

  Attributes:
    count: E, experts of a layer.
    chosen: k, the experts that a token takes.
    width: width of an expert's MLP.
    normalised: whether the shares of a token's experts are divided by their
      sum.
    balance: weight of the load-balancing loss.
    dense: layers that have an MLP and no experts.
  """

  count: int
  chosen: int
  width: int
  normalised: bool = True
  balance: float = 0.0
  dense: tuple[int, ...] = ()

  def __post_init__(self) -> None:
    if self.chosen > self.count:
      raise UserError(
        f"a token cannot take {self.chosen} of {self.count} experts"
      )


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """The size and the switches of a `Decoder`.

  Attributes:
    vocab_size: V.
    width: d.
    layers: L, blocks.
    heads: H, attention heads; must divide the width unless `head_dim` is set.
    mlp_ratio: width of the MLP / d; unused where `mlp_width` is given.
    positions: "rope" (rotary, arXiv:2104.09864), or "learned" vectors added
      to the embeddings.
    max_positions: rows of the learned table: the longest prompt and
      completion together, padding included.
    prefix_lm: whether the tokens of a prompt also see those after themselves.
    tied: whether the embedding is also the unembedding.
    family: the model_type of the checkpoint, which names its tensors.
    kv_heads: G, heads of keys and values; must divide H. None: H.
    head_dim: D. None: width / heads.
    mlp_width: width of the MLP.
    activation: activation of the MLP; one of `layers.ACTIVATIONS`.
    gated: whether the MLP is down(act(gate(x)) * up(x)), not
      down(act(up(x))).
    norm: "rms" or "layer".
    epsilon: what norms add to the mean square.
    plus_one: whether a norm's param is its scale minus one.
    pre_norms: whether the inputs of attention and MLP are normed.
    post_norms: whether the outputs of attention and MLP are normed too.
    qk_norm: whether queries and keys are normed, before RoPE: each head's
      alone ("head", or True), or all heads together ("all").
    biases: the linear maps that have a bias, among query, key, value, out,
      gate, up and down.
    embedding_scale: whether embeddings are multiplied by sqrt(d), rounded to
      their dtype.
    score_scale: what attention scores are multiplied by. None: 1 / sqrt(D).
    score_cap: the bound on attention scores, see `chunked_softmax.soft_cap`.
    logit_cap: the bound on the logits.
    ropes: RoPE settings, one for all layers or one for each.
    windows: how many tokens a query sees, itself included, or None for all
      tokens before; one for all layers, or one for each.
    experts: a mixture of experts in place of the MLP; None for none.
  """

  vocab_size: int
  width: int = 64
  layers: int = 2
  heads: int = 4
  mlp_ratio: int = 4
  positions: Literal["rope", "learned"] = "rope"
  max_positions: int | None = None
  prefix_lm: bool = False
  tied: bool = False
  family: str | None = _switch(None)
  kv_heads: int | None = _switch(None)
  head_dim: int | None = _switch(None)
  mlp_width: int | None = _switch(None)
  activation: str = _switch("gelu_tanh")
  gated: bool = _switch(False)
  norm: str = _switch("rms")
  epsilon: float = _switch(1e-6)
  plus_one: bool = _switch(False)
  pre_norms: bool = _switch(True)
  post_norms: bool = _switch(False)
  qk_norm: bool | Literal["head", "all"] = _switch(False)
  biases: tuple[str, ...] = _switch(())
  embedding_scale: bool = _switch(False)
  score_scale: float | None = _switch(None)
  score_cap: float | None = _switch(None)
  logit_cap: float | None = _switch(None)
  ropes: tuple[Rope, ...] = _switch((Rope(),))
  windows: tuple[int | None, ...] = _switch((None,))
  experts: Mixture | None = dataclasses.field(
    default=None, metadata={"spec": False}
  )

  def __post_init__(self) -> None:
    learned = self.positions == "learned"
    if self.head_dim is None and self.width % self.heads:
      raise UserError(f"heads={self.heads} do not divide width={self.width}")
    if self.heads % self.groups:
      raise UserError(
        f"the heads of keys and values ({self.groups}) do not divide "
        f"heads={self.heads}"
      )
    if not learned and self.head_size % 2:
      raise UserError(
        f"positions=rope turns pairs, and width={self.width} / "
        f"heads={self.heads} is odd: change either, or use positions=learned"
        if self.head_dim is None
        else f"positions=rope turns pairs, and heads of {self.head_dim} are odd"
      )
    if learned and self.max_positions is None:
      raise UserError(
        "positions=learned needs max_positions, the longest prompt and "
        "completion together"
      )
    if not learned and self.max_positions is not None:
      raise UserError(
        "max_positions is for positions=learned: rope has no table to fill"
      )
    for each in (self.ropes, self.windows):
      if len(each) not in (1, self.layers):
        raise UserError(f"{each} are not one for each of {self.layers} layers")

  @property
  def sparse(self) -> tuple[bool, ...]:
    """Whether each layer has experts."""
    if self.experts is None:
      return (False,) * self.layers
    return tuple(i not in self.experts.dense for i in range(self.layers))

  @property
  def groups(self) -> int:
    """G, heads of keys and values."""
    return self.heads if self.kv_heads is None else self.kv_heads

  @property
  def head_size(self) -> int:
    """D."""
    return self.width // self.heads if self.head_dim is None else self.head_dim

  @property
  def inner(self) -> int:
    """Width of the MLP."""
    if self.mlp_width is None:
      return self.mlp_ratio * self.width
    return self.mlp_width
