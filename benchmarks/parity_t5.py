"""Tiny random T5 checkpoints. Needs torch and transformers."""

from pathlib import Path
from typing import Any

WEIGHTS = (
  "shared.weight",
  "decoder.block.1.layer.1.EncDecAttention.k.weight",
)
"""Whose gradients are compared."""

SIZES: dict[str, Any] = {
  "vocab_size": 67,
  "d_model": 24,
  "d_kv": 10,
  "d_ff": 40,
  "num_layers": 2,
  "num_decoder_layers": 3,
  "num_heads": 3,
  "relative_attention_num_buckets": 8,
  "relative_attention_max_distance": 12,
  "decoder_start_token_id": 0,
  "pad_token_id": 0,
  "eos_token_id": 1,
}

CASES: dict[str, dict[str, Any]] = {
  "t5 v1.0": {"feed_forward_proj": "relu"},
  "t5 v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
  "flan-t5": {
    # As flan-t5 has it: more heads than fit the width, as many blocks.
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "num_heads": 6,
    "d_kv": 8,
    "num_decoder_layers": 2,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-5,
  },
  "ul2": {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False},
}
"""Case -> what differs from `SIZES`."""


def build(name: str, folder: Path) -> Any:
  """Writes a case's checkpoint; returns the torch model."""
  import torch
  from transformers import T5Config, T5ForConditionalGeneration

  torch.set_num_threads(1)  # more only wait for each other
  torch.manual_seed(0)
  model = T5ForConditionalGeneration(T5Config(**(SIZES | CASES[name])))
  if not model.config.scale_decoder_outputs:
    # Version 5 makes all heads tied; v1.1's has its own weight.
    model.lm_head.weight = torch.nn.Parameter(model.shared.weight.clone())
  scaled = model.config.scale_decoder_outputs
  with torch.no_grad():
    for weight_name, weight in model.named_parameters():
      # First weights are so small that mistakes would not show, and norms
      # of 1 hide what they do.
      noise = torch.randn_like(weight)
      if weight_name.endswith("norm.weight"):
        weight.copy_(1 + 0.3 * noise)
      elif weight_name.endswith("bias.weight"):
        weight.copy_(noise)
      elif weight_name.endswith(("q.weight", "k.weight")):
        weight.copy_(0.15 * noise)
      elif weight_name == "shared.weight" and scaled:
        weight.copy_(noise)
      else:
        weight.copy_(0.25 * noise)
  model.eval()
  model.save_pretrained(folder)
  return model
