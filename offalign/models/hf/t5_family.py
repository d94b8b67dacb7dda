"""T5 checkpoints of Hugging Face: their config.json and names of tensors.

T5 v1.0, v1.1 and Flan-T5 (arXiv:1910.10683, arXiv:2002.05202,
arXiv:2210.11416) are one network; their differences are tables here.
"""

import dataclasses
from typing import Any, Literal

from offalign.errors import UserError
from offalign.models.hf.config_json import ConfigJson
from offalign.models.hf.weight_layout import Source
from offalign.models.t5.config import T5Config

ARCHITECTURES = ("T5ForConditionalGeneration", "T5WithLMHeadModel")
"""Classes in config.json; the second is in v1.0's first checkpoints."""

_PROJECTIONS: dict[str, tuple[Literal["gelu", "relu", "silu"], bool]] = {
  "relu": ("relu", False),
  "gated-gelu": ("gelu", True),
  "gated-silu": ("silu", True),
}

_SIZES = {
  "vocab_size": ("vocab_size", 32128),
  "d_model": ("width", 512),
  "num_layers": ("layers", 6),
  "num_heads": ("heads", 8),
  "d_kv": ("head_dim", 64),
  "d_ff": ("mlp_width", 2048),
  "relative_attention_num_buckets": ("buckets", 32),
  "relative_attention_max_distance": ("max_distance", 128),
}
"""Key of config.json -> field, and the default of an absent key."""


def from_hf(config: dict[str, Any]) -> T5Config:
  """Converts a parsed config.json to a `T5Config`.

  `tied` is always False: config.json does not say whether the head is tied,
  because transformers 5 writes tie_word_embeddings=true for every T5. The
  reader of the weights sets it where the checkpoint has no head.

  Raises:
    UserError: names a key or a value that is not implemented.
  """
  read = ConfigJson(config)
  read.only("model_type", "t5")
  read.architectures(*ARCHITECTURES)
  read.only("is_encoder_decoder", True)
  read.only("is_decoder", False)
  sizes = {
    field: read.size(key, default) for key, (field, default) in _SIZES.items()
  }
  layers = read.size("num_decoder_layers", sizes["layers"])
  activation, gated = read.choice("feed_forward_proj", _PROJECTIONS, "relu")
  # Written by version 4 beside feed_forward_proj, from which they follow.
  name = {"gelu": "gelu_new"}.get(activation, activation)
  read.only("dense_act_fn", name)
  read.only("is_gated_act", gated)
  # Version 4 said by tie_word_embeddings=false that nothing is scaled.
  scaled = read.flag("tie_word_embeddings", True)
  scaled = read.flag("scale_decoder_outputs", scaled)
  epsilon = read.number("layer_norm_epsilon", 1e-6)
  start = read.take("decoder_start_token_id", read.take("pad_token_id", 0))
  if not isinstance(start, int) or isinstance(start, bool):
    read.refuse("decoder_start_token_id", start, "is no token")
  read.finish({"classifier_dropout", "gradient_checkpointing"})
  return T5Config(
    **sizes,
    decoder_layers=None if layers == sizes["layers"] else layers,
    activation=activation,
    gated=gated,
    scaled=scaled,
    epsilon=float(epsilon),
    start=start,
  )


def to_hf(config: T5Config) -> dict[str, Any]:
  """Converts a `T5Config` to a config.json; the inverse of `from_hf`.

  Raises:
    UserError: if Hugging Face has no T5 with these options.
  """
  projection = next(
    (
      name
      for name, switches in _PROJECTIONS.items()
      if switches == (config.activation, config.gated)
    ),
    None,
  )
  if projection is None:
    raise UserError(
      f"no T5 of Hugging Face's has activation={config.activation} with "
      f"gated={config.gated}"
    )
  if config.tied != config.scaled:
    raise UserError(
      f"no T5 of Hugging Face's has tied={config.tied} with "
      f"scaled={config.scaled}: both, or none of them"
    )
  sizes = dataclasses.asdict(config) | {"mlp_width": config.inner}
  return {
    "architectures": [ARCHITECTURES[0]],
    "model_type": "t5",
    **{key: sizes[field] for key, (field, _) in _SIZES.items()},
    "num_decoder_layers": config.depth,
    "feed_forward_proj": projection,
    "layer_norm_epsilon": config.epsilon,
    "tie_word_embeddings": config.tied,
    "decoder_start_token_id": config.start,
    "pad_token_id": config.start,
    "is_encoder_decoder": True,
    "dropout_rate": 0.0,
  }


def duplicates(config: T5Config) -> dict[str, str]:
  """Maps tensors that are copies to the tensor that is read instead."""
  names = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
  if config.tied:
    names.append("lm_head.weight")
  return dict.fromkeys(names, "shared.weight")


IGNORED = (
  # Left over in v1.0's first checkpoints; the network has no such bias.
  r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias"
  r"\.weight",
)
"""Patterns of tensors that hold no weights."""

_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}


def weight_map(config: T5Config) -> dict[str, Source]:
  """Maps the path of each leaf of the params to its `Source`."""
  found = {"embedding/table": Source(("shared.weight",))}
  if not config.tied:
    found["head/kernel"] = Source(("lm_head.weight",), transpose=True)
  sublayers = {
    "encoder": {"attention": (0, "SelfAttention"), "mlp": (1, "")},
    "decoder": {
      "attention": (0, "SelfAttention"),
      "cross": (1, "EncDecAttention"),
      "mlp": (2, ""),
    },
  }
  for side, depth in (("encoder", config.layers), ("decoder", config.depth)):
    found[f"{side}/norm/scale"] = Source((f"{side}.final_layer_norm.weight",))
    found[f"{side}/bias/embedding/table"] = Source(
      (f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",)
    )
    for part, (i, module) in sublayers[side].items():
      maps = {f"{k}/kernel": f"{module}.{v}" for k, v in _ATTENTION.items()}
      if part == "mlp":
        maps = _mlp(config)
      for leaf, name in {**maps, "norm/scale": "layer_norm"}.items():
        names = tuple(
          f"{side}.block.{n}.layer.{i}.{name}.weight" for n in range(depth)
        )
        found[f"{side}/layers/{part}/{leaf}"] = Source(
          names, stacked=True, transpose=leaf.endswith("kernel")
        )
  return found


def _mlp(config: T5Config) -> dict[str, str]:
  """Maps the MLP's leaves to the names of their tensors."""
  names = {"down": "wo", "up": "wi"}
  if config.gated:
    names = {"down": "wo", "gate": "wi_0", "up": "wi_1"}
  return {f"{k}/kernel": f"DenseReluDense.{v}" for k, v in names.items()}
