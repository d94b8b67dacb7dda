"""Published shapes of models, for plans without a network."""

from typing import Any


def _t5(width: int, mlp: int, layers: int, heads: int) -> dict[str, Any]:
  return {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 32_128,
    "d_model": width,
    "d_kv": 64,
    "d_ff": mlp,
    "num_layers": layers,
    "num_decoder_layers": layers,
    "num_heads": heads,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
  }


def _llama3(width: int, mlp: int, layers: int, heads: int) -> dict[str, Any]:
  return {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128_256,
    "hidden_size": width,
    "intermediate_size": mlp,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 128_000,
    "eos_token_id": 128_001,
  }


SHAPES: dict[str, dict[str, Any]] = {
  "google/flan-t5-base": _t5(768, 2048, 12, 12),
  "google/flan-t5-large": _t5(1024, 2816, 24, 16),
  "google/flan-t5-xl": _t5(2048, 5120, 24, 32),
  "meta-llama/Meta-Llama-3-8B": _llama3(4096, 14_336, 32, 32),
  "meta-llama/Meta-Llama-3-70B": _llama3(8192, 28_672, 80, 64),
  "Qwen/Qwen2.5-7B": {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 131_072,
    "max_window_layers": 28,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "bos_token_id": 151_643,
    "eos_token_id": 151_643,
  },
}
"""Hub name -> the entries of its config.json that shape the model."""
