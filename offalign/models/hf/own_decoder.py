"""Write a decoder that was new here as an architecture of `transformers`.

The architecture is Arcee's, the one with RMS norms, RoPE and an MLP without a
gate: down(act(up(x))).
"""

import dataclasses
from typing import Any

from offalign.errors import UserError
from offalign.models.decoder.config import DecoderConfig
from offalign.models.hf import decoder_families

FAMILY = "arcee"
_ACTIVATIONS = {
  "gelu": "gelu",
  "gelu_tanh": "gelu_pytorch_tanh",
  "relu": "relu",
  "relu_squared": "relu2",
  "silu": "silu",
}
_CURES = {
  "positions": "positions=rope",
  "max_positions": "positions=rope",
  "prefix_lm": "prefix_lm=False",
}


def to_hf(config: DecoderConfig) -> dict[str, Any]:
  """Converts a `DecoderConfig` to a config.json.

  Raises:
    UserError: where no architecture computes the same, with the options that
      stand in the way.
  """
  written = {
    "architectures": [decoder_families.KINDS[FAMILY].architecture],
    "model_type": FAMILY,
    "vocab_size": config.vocab_size,
    "hidden_size": config.width,
    "intermediate_size": config.inner,
    "num_hidden_layers": config.layers,
    "num_attention_heads": config.heads,
    "num_key_value_heads": config.groups,
    "head_dim": config.head_size,
    "hidden_act": _ACTIVATIONS.get(config.activation, config.activation),
    "rms_norm_eps": config.epsilon,
    "rope_theta": config.ropes[0].theta,
    "tie_word_embeddings": config.tied,
    "attention_bias": "query" in config.biases,
    "mlp_bias": "up" in config.biases,
    "attention_dropout": 0.0,
  }
  read = _plain(decoder_families.from_hf(written))
  given = _plain(config)
  differ = [name for name, value in given.items() if read[name] != value]
  if not differ:
    return written
  options = ", ".join(f"{name}={given[name]}" for name in differ)
  cures = dict.fromkeys(_CURES[name] for name in differ if name in _CURES)
  cure = f": train one with {' and '.join(cures)} to export it" if cures else ""
  raise UserError(
    f"no decoder of Hugging Face's has {options} with the rest of this "
    f"model's options{cure}"
  )


def _plain(config: DecoderConfig) -> dict[str, Any]:
  """What a config computes: its fields with their defaults filled in."""
  filled = dataclasses.replace(
    config,
    family=None,
    kv_heads=config.groups,
    head_dim=config.head_size,
    mlp_width=config.inner,
    mlp_ratio=1,
  )
  return {
    field.name: getattr(filled, field.name)
    for field in dataclasses.fields(filled)
  }
