"""Table of decoder families: Llama, Qwen, Gemma, Phi-3, OLMo 2, GPT-2, ...

A row of `KINDS` holds what a family fixes; `decoder_fields` reads what a
checkpoint chooses in its config.json. Both become fields of a
`DecoderConfig`.

Above 300 lines, since the families are rows of one table, read side by side.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx, traverse_util

from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder
from offalign.models.hf import decoder_fields
from offalign.models.hf.config_json import ConfigJson
from offalign.models.hf.weight_layout import Source

_SIZES = {
  "width": "hidden_size",
  "layers": "num_hidden_layers",
  "heads": "num_attention_heads",
  "mlp_width": "intermediate_size",
}

_HEAD_DIM = {"head_dim": "head_dim"}
_GROUPED = {"kv_heads": "num_key_value_heads"}

_NAMES = {
  "embedding": "model.embed_tokens",
  "attention_norm": "model.layers.{}.input_layernorm",
  "query": "model.layers.{}.self_attn.q_proj",
  "key": "model.layers.{}.self_attn.k_proj",
  "value": "model.layers.{}.self_attn.v_proj",
  "query_norm": "model.layers.{}.self_attn.q_norm",
  "key_norm": "model.layers.{}.self_attn.k_norm",
  "out": "model.layers.{}.self_attn.o_proj",
  "mlp_norm": "model.layers.{}.post_attention_layernorm",
  "gate": "model.layers.{}.mlp.gate_proj",
  "up": "model.layers.{}.mlp.up_proj",
  "down": "model.layers.{}.mlp.down_proj",
  "norm": "model.norm",
  "head": "lm_head",
}

_GEMMA_NAMES = _NAMES | {
  "attention_post_norm": "model.layers.{}.post_attention_layernorm",
  "mlp_norm": "model.layers.{}.pre_feedforward_layernorm",
  "mlp_post_norm": "model.layers.{}.post_feedforward_layernorm",
}

_OLMO2_NAMES = _NAMES | {
  "attention_post_norm": "model.layers.{}.post_attention_layernorm",
  "mlp_post_norm": "model.layers.{}.post_feedforward_layernorm",
}

_PHI3_NAMES = _NAMES | {
  "query": "model.layers.{}.self_attn.qkv_proj",
  "key": "model.layers.{}.self_attn.qkv_proj",
  "value": "model.layers.{}.self_attn.qkv_proj",
  "gate": "model.layers.{}.mlp.gate_up_proj",
  "up": "model.layers.{}.mlp.gate_up_proj",
}

# What an expert's tensors are called, and, in place of an MLP, the router.
_EXPERTS = {
  "router": "model.layers.{}.mlp.gate",
  "gate": "model.layers.{}.mlp.experts.{}.gate_proj",
  "up": "model.layers.{}.mlp.experts.{}.up_proj",
  "down": "model.layers.{}.mlp.experts.{}.down_proj",
}

_MIXTRAL_EXPERTS = {
  "router": "model.layers.{}.block_sparse_moe.gate",
  "gate": "model.layers.{}.block_sparse_moe.experts.{}.w1",
  "up": "model.layers.{}.block_sparse_moe.experts.{}.w3",
  "down": "model.layers.{}.block_sparse_moe.experts.{}.w2",
}

_GPT2_NAMES = {
  "embedding": "transformer.wte",
  "position_embedding": "transformer.wpe",
  "attention_norm": "transformer.h.{}.ln_1",
  "query": "transformer.h.{}.attn.c_attn",
  "key": "transformer.h.{}.attn.c_attn",
  "value": "transformer.h.{}.attn.c_attn",
  "out": "transformer.h.{}.attn.c_proj",
  "mlp_norm": "transformer.h.{}.ln_2",
  "up": "transformer.h.{}.mlp.c_fc",
  "down": "transformer.h.{}.mlp.c_proj",
  "norm": "transformer.ln_f",
  "head": "lm_head",
}


@dataclasses.dataclass(frozen=True)
class Kind:
  """A family of decoders.

  Attributes:
    architecture: class of transformers whose checkpoints are read.
    tied: whether the head is the embedding if config.json does not say.
    switches: fields of `DecoderConfig` that the whole family shares.
    readers: functions (config.json, fields so far) -> more fields.
    sizes: field -> key of config.json.
    optional: field -> key, for keys that may be missing or null.
    epsilon: key of the norms' epsilon, and its default.
    names: our module -> name of its tensors, without .weight or .bias.
    experts: leaf of `Experts` -> name of its tensors, in a family with
      experts.
    transpose: whether linear maps are stored [out, in]; the head always is.
    fused: groups of modules that share a tensor, in the order of their
      outputs.
    irrelevant: keys of config.json that change nothing for this family.
    prefix: start of the tensors' names that checkpoints without the head
      lack.
  """

  architecture: str
  tied: bool
  switches: Mapping[str, Any]
  readers: tuple[decoder_fields.Reader, ...]
  sizes: Mapping[str, str] = dataclasses.field(default_factory=lambda: _SIZES)
  optional: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: _GROUPED | _HEAD_DIM
  )
  epsilon: tuple[str, float] = ("rms_norm_eps", 1e-6)
  names: Mapping[str, str] = dataclasses.field(default_factory=lambda: _NAMES)
  experts: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: _EXPERTS
  )
  transpose: bool = True
  fused: tuple[tuple[str, ...], ...] = ()
  irrelevant: tuple[str, ...] = ()
  prefix: str = "model."


_SILU = functools.partial(decoder_fields.activation, "hidden_act")
_GELU = functools.partial(decoder_fields.activation, "hidden_activation")
_BIASES = functools.partial(decoder_fields.biases, ("attention_bias",))

_QWEN = Kind(
  architecture="Qwen2ForCausalLM",
  tied=False,
  switches={"gated": True, "biases": ("query", "key", "value")},
  readers=(_SILU, decoder_fields.last_layers_slide, decoder_fields.rope),
)

_GEMMA = Kind(
  architecture="Gemma2ForCausalLM",
  tied=True,
  switches={
    "gated": True,
    "plus_one": True,
    "post_norms": True,
    "embedding_scale": True,
  },
  readers=(
    _GELU,
    _BIASES,
    decoder_fields.every_other_slides,
    decoder_fields.rope,
    decoder_fields.gemma_scores,
    decoder_fields.gemma2_caps,
  ),
  sizes=_SIZES | _HEAD_DIM,
  optional=_GROUPED,
  names=_GEMMA_NAMES,
  # What the reference implementation reads is hidden_activation.
  irrelevant=("hidden_act", "sliding_window_size"),
)

KINDS: dict[str, Kind] = {
  "llama": Kind(
    architecture="LlamaForCausalLM",
    tied=False,
    switches={"gated": True},
    readers=(
      _SILU,
      functools.partial(decoder_fields.biases, ("attention_bias", "mlp_bias")),
      decoder_fields.rope,
    ),
  ),
  "arcee": Kind(
    architecture="ArceeForCausalLM",
    tied=False,
    switches={},
    readers=(
      _SILU,
      functools.partial(decoder_fields.biases, ("attention_bias", "mlp_bias")),
      decoder_fields.rope,
    ),
    epsilon=("rms_norm_eps", 1e-5),
  ),
  "mistral": Kind(
    architecture="MistralForCausalLM",
    tied=False,
    switches={"gated": True},
    readers=(_SILU, decoder_fields.same_window, decoder_fields.rope),
  ),
  "qwen2": _QWEN,
  "qwen3": dataclasses.replace(
    _QWEN,
    architecture="Qwen3ForCausalLM",
    switches={"gated": True, "qk_norm": True},
    readers=(*_QWEN.readers, _BIASES),
    sizes=_SIZES | _HEAD_DIM,
    optional=_GROUPED,
  ),
  "qwen3_moe": dataclasses.replace(
    _QWEN,
    architecture="Qwen3MoeForCausalLM",
    switches={"gated": True, "qk_norm": True},
    readers=(
      _SILU,
      decoder_fields.qwen3_moe_window,
      decoder_fields.rope,
      _BIASES,
      decoder_fields.qwen3_experts,
    ),
    # Of windows: its layers are all alike.
    irrelevant=("max_window_layers", "output_router_logits"),
  ),
  "olmoe": Kind(
    architecture="OlmoeForCausalLM",
    tied=False,
    switches={"gated": True, "qk_norm": "all"},
    readers=(
      _SILU,
      _BIASES,
      decoder_fields.rope,
      decoder_fields.olmoe_experts,
    ),
    optional=_GROUPED,
    epsilon=("rms_norm_eps", 1e-5),
    irrelevant=("output_router_logits",),
  ),
  "mixtral": Kind(
    architecture="MixtralForCausalLM",
    tied=False,
    switches={"gated": True},
    readers=(
      _SILU,
      decoder_fields.phi3_window,
      decoder_fields.mixtral_rope,
      decoder_fields.mixtral_experts,
    ),
    epsilon=("rms_norm_eps", 1e-5),
    experts=_MIXTRAL_EXPERTS,
    irrelevant=("output_router_logits",),
  ),
  "gemma2": _GEMMA,
  "gemma3_text": dataclasses.replace(
    _GEMMA,
    architecture="Gemma3ForCausalLM",
    switches={**_GEMMA.switches, "qk_norm": True},
    readers=(
      _GELU,
      _BIASES,
      decoder_fields.five_of_six_slide,
      decoder_fields.gemma_scores,
      decoder_fields.gemma3_caps,
    ),
  ),
  "gemma": dataclasses.replace(
    _GEMMA,
    architecture="GemmaForCausalLM",
    switches={"gated": True, "plus_one": True, "embedding_scale": True},
    readers=(
      decoder_fields.gemma_activation,
      _BIASES,
      decoder_fields.rope,
      decoder_fields.causal_alone,
    ),
    names=_NAMES,
    irrelevant=("hidden_act",),
  ),
  "olmo2": Kind(
    architecture="Olmo2ForCausalLM",
    tied=False,
    switches={
      "gated": True,
      "pre_norms": False,
      "post_norms": True,
      "qk_norm": "all",
    },
    readers=(_SILU, _BIASES, decoder_fields.rope),
    epsilon=("rms_norm_eps", 1e-5),
    names=_OLMO2_NAMES,
  ),
  "phi3": Kind(
    architecture="Phi3ForCausalLM",
    tied=False,
    switches={"gated": True},
    readers=(_SILU, decoder_fields.phi3_window, decoder_fields.phi3_rope),
    epsilon=("rms_norm_eps", 1e-5),
    names=_PHI3_NAMES,
    fused=(("query", "key", "value"), ("gate", "up")),
    # Read with long RoPE alone, which is refused.
    irrelevant=("original_max_position_embeddings",),
  ),
  "smollm3": Kind(
    architecture="SmolLM3ForCausalLM",
    tied=True,
    switches={"gated": True},
    readers=(
      _SILU,
      functools.partial(decoder_fields.biases, ("attention_bias", "mlp_bias")),
      decoder_fields.smollm3_ropes,
      decoder_fields.smollm3_windows,
    ),
    # What config.json says of windows where no layer has one.
    irrelevant=("max_window_layers",),
  ),
  "gpt2": Kind(
    architecture="GPT2LMHeadModel",
    tied=True,
    switches={
      "positions": "learned",
      "norm": "layer",
      "biases": ("query", "key", "value", "out", "up", "down"),
    },
    readers=(
      functools.partial(decoder_fields.activation, "activation_function"),
      decoder_fields.gpt2_scores,
    ),
    sizes={
      "width": "n_embd",
      "layers": "n_layer",
      "heads": "n_head",
      "max_positions": "n_positions",
    },
    optional={"mlp_width": "n_inner"},
    epsilon=("layer_norm_epsilon", 1e-5),
    names=_GPT2_NAMES,
    transpose=False,
    fused=(("query", "key", "value"),),
    # Scores are in float32 here anyway.
    irrelevant=("reorder_and_upcast_attn",),
    prefix="transformer.",
  ),
}

IGNORED = (
  r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
  r"transformer\.h\.\d+\.attn\.(masked_)?bias",
)
"""Patterns of tensors that hold no weights: RoPE's rates, causal masks."""


def from_hf(config: dict[str, Any]) -> DecoderConfig:
  """Converts a parsed config.json to a `DecoderConfig`.

  Raises:
    UserError: names a key or a value that is not implemented.
  """
  read = ConfigJson(config)
  name = read.choice("model_type", {name: name for name in KINDS})
  kind = KINDS[name]
  read.architectures(kind.architecture)
  if _is_own_code(config.get("auto_map"), kind.architecture):
    read.take("auto_map")
  read.only("is_encoder_decoder", False)
  read.only("is_decoder", True, False)
  read.only("add_cross_attention", False)
  read.only("tie_encoder_decoder", False)
  read.only("pruned_heads", {})
  read.only("use_mrope", False)
  fields: dict[str, Any] = {"vocab_size": read.size("vocab_size")}
  fields |= {field: read.size(key) for field, key in kind.sizes.items()}
  fields |= {
    field: read.size(key, None) for field, key in kind.optional.items()
  }
  fields["epsilon"] = float(read.number(*kind.epsilon))
  fields["tied"] = read.flag("tie_word_embeddings", kind.tied)
  for reader in kind.readers:
    fields |= reader(read, fields)
  read.finish(kind.irrelevant)
  return DecoderConfig(family=name, **kind.switches, **fields)


def _is_own_code(auto_map: Any, architecture: str) -> bool:
  """Whether `auto_map` names classes of the architecture alone.

  So do files that are older than the architecture's place in transformers.
  """
  stem = architecture.removesuffix("ForCausalLM")
  return isinstance(auto_map, dict) and all(
    isinstance(name, str) and name.rpartition(".")[2].startswith(stem)
    for name in auto_map.values()
  )


def weight_map(config: DecoderConfig) -> dict[str, Source]:
  """Maps the path of each leaf of the params to its `Source`."""
  kind = KINDS[config.family or "llama"]
  shapes = jax.eval_shape(
    lambda: nnx.to_pure_dict(nnx.state(Decoder(config, rngs=nnx.Rngs(0))))
  )
  shapes_of = traverse_util.flatten_dict(shapes)
  found = {}
  sparse = [i for i, experts in enumerate(config.sparse) if experts]
  dense = [i for i, experts in enumerate(config.sparse) if not experts]
  stacks = {"layers": sparse or dense, "layers_dense": dense}
  for path in shapes_of:
    *_, module, name = path
    stacked, layers = path[0] in stacks, stacks.get(path[0], [0])
    if module == "experts":
      found["/".join(path)] = _experts(kind.experts[name], config, layers)
      continue
    tensor = kind.names[module] + (".bias" if name == "bias" else ".weight")
    rows = None
    for group in kind.fused:
      if module in group:
        widths = [
          shapes_of[(*path[:-2], each, name)].shape[-1]
          for each in group[: group.index(module) + 1]
        ]
        rows = (sum(widths[:-1]), sum(widths))
    found["/".join(path)] = Source(
      tuple(tensor.format(i) for i in layers),
      stacked=stacked,
      transpose=name == "kernel" and (kind.transpose or module == "head"),
      rows=rows,
    )
  return found


def _experts(tensor: str, config: DecoderConfig, layers: list[int]) -> Source:
  """The `Source` of a leaf of `Experts`, by the name of its tensors."""
  assert config.experts is not None
  n = config.experts.count if tensor.count("{}") == 2 else None
  names = [
    tensor.format(*place) for place in itertools.product(layers, range(n or 1))
  ]
  return Source(
    tuple(f"{name}.weight" for name in names),
    stacked=True,
    transpose=True,
    experts=n,
  )


def duplicates(config: DecoderConfig) -> dict[str, str]:
  """Maps tensors that are copies to the tensor that is read instead."""
  if not config.tied:
    return {}
  names = KINDS[config.family or "llama"].names
  return {f"{names['head']}.weight": f"{names['embedding']}.weight"}
