"""The size of a T5, and the switches by which its versions differ."""

import dataclasses
from typing import Literal

from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class T5Config:
  """The size and the switches of a `T5`; the defaults are v1.1's.

  Attributes:
    vocab_size: V.
    width: d; d_model.
    layers: blocks of the encoder, and of the decoder; num_layers.
    decoder_layers: blocks of the decoder, if not as many as the encoder's;
      num_decoder_layers.
    heads: attention heads.
    head_dim: D; d_kv. heads * head_dim need not be the width.
    mlp_ratio: width of the MLP / d.
    mlp_width: width of the MLP where it is no multiple of d; d_ff.
    activation: activation of the MLP; "gelu" is its tanh approximation.
    gated: whether a second projection is multiplied with the activation.
    buckets: distances that the position biases tell apart;
      relative_attention_num_buckets.
    max_distance: tokens from which on all distances share a bucket;
      relative_attention_max_distance.
    tied: whether the embedding is also the unembedding.
    scaled: whether the last states are multiplied by d**-0.5, as in v1.0.
    epsilon: added to the mean square in norms; layer_norm_epsilon.
    start: the decoder's first input; decoder_start_token_id. Only a
      checkpoint sets it, never a spec string.
  """

  vocab_size: int
  width: int = 64
  layers: int = 2
  decoder_layers: int | None = None
  heads: int = 4
  head_dim: int = 16
  mlp_ratio: int = 2
  mlp_width: int | None = None
  activation: Literal["gelu", "relu", "silu"] = "gelu"
  gated: bool = True
  buckets: int = 32
  max_distance: int = 128
  tied: bool = False
  scaled: bool = False
  epsilon: float = 1e-6
  start: int = dataclasses.field(default=0, metadata={"spec": False})

  def __post_init__(self) -> None:
    if self.buckets < 4 or self.buckets % 4:
      raise UserError(f"buckets={self.buckets} is not a multiple of 4")
    if self.max_distance <= self.buckets // 2:
      raise UserError(
        f"max_distance={self.max_distance} must be above buckets/2 = "
        f"{self.buckets // 2}: nearer distances have buckets of their own"
      )
    if self.mlp_width is not None and self.mlp_ratio != T5Config.mlp_ratio:
      raise UserError("mlp_width replaces mlp_ratio: leave one of them out")
    if self.epsilon <= 0:
      raise UserError(f"epsilon must be above 0, not {self.epsilon}")
    if not 0 <= self.start < self.vocab_size:
      raise UserError(
        f"start={self.start} is no token of a vocabulary of {self.vocab_size}"
      )

  @property
  def inner(self) -> int:
    """Width of the MLP."""
    return self.mlp_width or self.mlp_ratio * self.width

  @property
  def depth(self) -> int:
    """Blocks of the decoder."""
    return self.decoder_layers or self.layers
