"""Tiny random decoders of every family, and ways to get each family wrong.

The weights are larger than those of a fresh model, so that logits are of the
size of a trained model's and a mistake shows in them. The epsilon of the
norms is large, so that a wrong one shows too. Needs torch and transformers.
"""

import dataclasses
from pathlib import Path
from typing import Any

from offalign.models.decoder.config import Mixture
from offalign.models.positions import NOPE, Rope, Yarn

_SIZES: dict[str, Any] = {
  "vocab_size": 67,
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "max_position_embeddings": 64,
  "rms_norm_eps": 1e-4,
  "bos_token_id": None,
  "eos_token_id": 1,
  "pad_token_id": 0,
}

_LLAMA3: dict[str, Any] = {
  "rope_type": "llama3",
  "rope_theta": 500.0,
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}

_YARN: dict[str, Any] = {
  "rope_type": "yarn",
  "rope_theta": 500.0,
  "factor": 4.0,
  "original_max_position_embeddings": 64,
}
_YARN_ROPE = Rope(500.0, 4.0, yarn=Yarn(32, 1, 64), gain=1.138629436111989)

_GEMMA3_ROPES: dict[str, Any] = {
  "full_attention": {
    "rope_type": "linear",
    "factor": 8.0,
    "rope_theta": 1000.0,
  },
  "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}

_GEMMA = {"head_dim": 12, "query_pre_attn_scalar": 7, "sliding_window": 5}


@dataclasses.dataclass(frozen=True)
class Case:
  """A checkpoint to make.

  Attributes:
    config: the class of its configuration in transformers.
    options: what that is given.
    wrong: name of a mistake -> the fields of `DecoderConfig` that make it.
  """

  config: str
  options: dict[str, Any]
  wrong: dict[str, dict[str, Any]]


_LLAMA_WRONG: dict[str, dict[str, Any]] = {
  "theta": {"ropes": (Rope(theta=9_000.0),)},
  "epsilon": {"epsilon": 1e-6},
  "tanh gelu for silu": {"activation": "gelu_tanh"},
}

CASES: dict[str, Case] = {
  "llama 2": Case(
    "LlamaConfig",
    _SIZES | {"num_key_value_heads": 4},
    _LLAMA_WRONG | {"linear scaling": {"ropes": (Rope(factor=2.0),)}},
  ),
  "llama 3": Case(
    "LlamaConfig",
    _SIZES
    | {
      "rope_parameters": _LLAMA3,
      "tie_word_embeddings": True,
      "attention_bias": True,
      "mlp_bias": True,
    },
    {
      "theta": {"ropes": (Rope(10_000.0, 8.0, (1.0, 4.0, 16.0)),)},
      "no scaling": {"ropes": (Rope(500.0),)},
      "linear scaling": {"ropes": (Rope(500.0, 8.0),)},
      "factor": {"ropes": (Rope(500.0, 4.0, (1.0, 4.0, 16.0)),)},
      "band": {"ropes": (Rope(500.0, 8.0, (1.0, 2.0, 16.0)),)},
      "length": {"ropes": (Rope(500.0, 8.0, (1.0, 4.0, 32.0)),)},
      "no biases in attention": {"biases": ("gate", "up", "down")},
      "no biases in the MLP": {"biases": ("query", "key", "value", "out")},
    },
  ),
  "mistral": Case(
    "MistralConfig",
    _SIZES | {"sliding_window": 5, "head_dim": 12},
    _LLAMA_WRONG
    | {
      "no window": {"windows": (None,)},
      "window + 1": {"windows": (6,)},
      "window - 1": {"windows": (4,)},
    },
  ),
  "qwen 2": Case(
    "Qwen2Config",
    _SIZES
    | {
      "use_sliding_window": True,
      "sliding_window": 5,
      "max_window_layers": 1,
    },
    _LLAMA_WRONG
    | {
      "no biases": {"biases": ()},
      "no window": {"windows": (None,)},
      "window in all layers": {"windows": (5,)},
      "window in the first layers": {"windows": (5, 5, None)},
    },
  ),
  "qwen 3": Case(
    "Qwen3Config",
    _SIZES | {"head_dim": 12, "tie_word_embeddings": True},
    _LLAMA_WRONG | {"no norm of queries and keys": {"qk_norm": False}},
  ),
  "gemma 2": Case(
    "Gemma2Config",
    _SIZES
    | _GEMMA
    | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0},
    {
      "theta": {"ropes": (Rope(theta=9_000.0),)},
      "epsilon": {"epsilon": 1e-6},
      "erf gelu": {"activation": "gelu"},
      "no window": {"windows": (None,)},
      "window in the other layers": {"windows": (None, 5, None)},
      "no bound of scores": {"score_cap": None},
      "no bound of logits": {"logit_cap": None},
      "norms without + 1": {"plus_one": False},
      "embeddings as they are": {"embedding_scale": False},
      "scores over sqrt(D)": {"score_scale": None},
      "no norms after": {"post_norms": False},
    },
  ),
  "gemma 3": Case(
    "Gemma3TextConfig",
    _SIZES
    | _GEMMA
    | {"num_hidden_layers": 7, "rope_parameters": _GEMMA3_ROPES},
    {
      "one theta": {"ropes": (Rope(1000.0, 8.0),)},
      "no scaling": {"ropes": (*[Rope(50.0)] * 5, Rope(1000.0), Rope(50.0))},
      "scaling everywhere": {
        "ropes": (*[Rope(50.0, 8.0)] * 5, Rope(1000.0, 8.0), Rope(50.0, 8.0))
      },
      "epsilon": {"epsilon": 1e-6},
      "erf gelu": {"activation": "gelu"},
      "no window": {"windows": (None,)},
      "window in all layers": {"windows": (5,)},
      "norms without + 1": {"plus_one": False},
      "no norm of queries and keys": {"qk_norm": False},
      "embeddings as they are": {"embedding_scale": False},
      "scores over sqrt(D)": {"score_scale": None},
      "no norms after": {"post_norms": False},
    },
  ),
  "yarn": Case(
    "LlamaConfig",
    _SIZES
    | {
      "rope_parameters": _YARN,
      "head_dim": 16,
      "max_position_embeddings": 256,
    },
    {
      "linear scaling": {"ropes": (Rope(500.0, 4.0),)},
      "no gain": {
        "ropes": (dataclasses.replace(_YARN_ROPE, gain=1.0),),
      },
      "ramp": {
        "ropes": (dataclasses.replace(_YARN_ROPE, yarn=Yarn(3, 0.3, 64)),)
      },
      "length": {
        "ropes": (dataclasses.replace(_YARN_ROPE, yarn=Yarn(32, 1, 256)),)
      },
      "ramp between pairs": {
        "ropes": (
          dataclasses.replace(_YARN_ROPE, yarn=Yarn(32, 1, 64, truncate=False)),
        )
      },
    },
  ),
  "gemma": Case(
    "GemmaConfig",
    _SIZES | {"head_dim": 12},
    {
      "theta": {"ropes": (Rope(theta=9_000.0),)},
      "epsilon": {"epsilon": 1e-6},
      "erf gelu": {"activation": "gelu"},
      "norms without + 1": {"plus_one": False},
      "embeddings as they are": {"embedding_scale": False},
    },
  ),
  "olmo 2": Case(
    "Olmo2Config",
    _SIZES,
    _LLAMA_WRONG | {"no norm of queries and keys": {"qk_norm": False}},
  ),
  "phi 3": Case(
    "Phi3Config",
    _SIZES
    | {
      "sliding_window": 5,
      "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 500.0,
        "partial_rotary_factor": 0.75,
      },
      "hidden_size": 64,
    },
    {
      "theta": {"ropes": (Rope(9_000.0, share=0.75),)},
      "all turns": {"ropes": (Rope(500.0),)},
      "epsilon": {"epsilon": 1e-6},
      "tanh gelu for silu": {"activation": "gelu_tanh"},
      "no window": {"windows": (None,)},
    },
  ),
  "smollm 3": Case(
    "SmolLM3Config",
    _SIZES
    | {
      "no_rope_layers": [1, 0, 1],
      "use_sliding_window": True,
      "sliding_window": 5,
    },
    {
      "RoPE everywhere": {"ropes": (Rope(2e6),)},
      "no RoPE in the other layers": {"ropes": (NOPE, Rope(2e6), NOPE)},
      "theta": {"ropes": (Rope(), NOPE, Rope())},
      "epsilon": {"epsilon": 1e-6},
      "tanh gelu for silu": {"activation": "gelu_tanh"},
      "no window": {"windows": (None,)},
    },
  ),
  "qwen 3 moe": Case(
    "Qwen3MoeConfig",
    _SIZES
    | {
      "head_dim": 12,
      "num_experts": 6,
      "num_experts_per_tok": 2,
      "moe_intermediate_size": 20,
      "norm_topk_prob": True,
      "mlp_only_layers": [0],
    },
    _LLAMA_WRONG
    | {
      "shares as they are": {
        "experts": Mixture(6, 2, 20, normalised=False, dense=(0,))
      },
      "one expert": {"experts": Mixture(6, 1, 20, dense=(0,))},
      "experts in another layer": {"experts": Mixture(6, 2, 20, dense=(2,))},
    },
  ),
  "olmoe": Case(
    "OlmoeConfig",
    _SIZES
    | {"num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 20},
    {
      "shares over their sum": {"experts": Mixture(8, 3, 20)},
      "no norm of queries and keys": {"qk_norm": False},
      "epsilon": {"epsilon": 1e-6},
    },
  ),
  "mixtral": Case(
    "MixtralConfig",
    _SIZES | {"num_local_experts": 4, "sliding_window": 5},
    {
      "shares as they are": {"experts": Mixture(4, 2, 48, normalised=False)},
      "no window": {"windows": (None,)},
      "theta": {"ropes": (Rope(),)},
      "epsilon": {"epsilon": 1e-6},
    },
  ),
  "gpt 2": Case(
    "GPT2Config",
    {
      "vocab_size": 67,
      "n_embd": 32,
      "n_layer": 3,
      "n_head": 4,
      "n_positions": 40,
      "layer_norm_epsilon": 1e-4,
      "bos_token_id": 1,
      "eos_token_id": 1,
    },
    {
      "erf gelu": {"activation": "gelu"},
      "epsilon": {"epsilon": 1e-6},
      "norms without mean": {"norm": "rms"},
      "no biases": {"biases": ()},
      "scores as they are": {"score_scale": 1.0},
      "RoPE": {"positions": "rope", "max_positions": None},
    },
  ),
}


def build(name: str, folder: Path) -> Any:
  """Writes a case's checkpoint; returns the torch model."""
  import torch
  import transformers

  torch.set_num_threads(1)  # more only wait for each other
  torch.manual_seed(0)
  config = getattr(transformers, CASES[name].config)(**CASES[name].options)
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation="eager"
  )
  with torch.no_grad():
    for weight in model.parameters():
      noise = torch.randn_like(weight)
      if weight.ndim == 1:  # norms and biases, which begin at 1 or 0
        weight.add_(0.2 * noise)
      else:
        weight.copy_(0.25 * noise)
  model.eval()
  model.save_pretrained(folder)
  return model


def weights(theirs: Any) -> tuple[str, ...]:
  """The embedding and all of the second layer."""
  names = [name for name, _ in theirs.named_parameters()]
  return (names[0], *(name for name in names if ".1." in name))
