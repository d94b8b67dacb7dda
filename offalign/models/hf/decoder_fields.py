"""Read a decoder's config.json into fields of `DecoderConfig`.

Each function reads the keys of one choice. Its last argument holds the fields
that were read so far, the sizes among them.
"""

from collections.abc import Callable
from typing import Any

from offalign.models.decoder.config import Mixture
from offalign.models.hf import rope_json
from offalign.models.hf.config_json import ConfigJson
from offalign.models.positions import NOPE

Fields = dict[str, Any]

Reader = Callable[[ConfigJson, Fields], Fields]


def activation(key: str, read: ConfigJson, _: Fields) -> Fields:
  """Reads the MLP's activation."""
  names = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
  }
  return {"activation": read.choice(key, names)}


def biases(flags: tuple[str, ...], read: ConfigJson, _: Fields) -> Fields:
  """Reads which linear maps have a bias."""
  of = {
    "attention_bias": ("query", "key", "value", "out"),
    "mlp_bias": ("gate", "up", "down"),
  }
  chosen = [of[flag] for flag in flags if read.flag(flag, False)]
  return {"biases": sum(chosen, ())}


def causal_alone(read: ConfigJson, _: Fields) -> Fields:
  """Refuses a Gemma that sees later tokens."""
  read.only("use_bidirectional_attention", False)
  return {}


def gemma_scores(read: ConfigJson, _: Fields) -> Fields:
  """Reads the factor of attention scores of a Gemma."""
  read.only("use_bidirectional_attention", False)
  return {"score_scale": read.number("query_pre_attn_scalar") ** -0.5}


def gemma2_caps(read: ConfigJson, _: Fields) -> Fields:
  """Reads Gemma 2's soft caps of attention scores and of logits."""
  return {
    "score_cap": read.nullable("attn_logit_softcapping", 50.0),
    "logit_cap": read.nullable("final_logit_softcapping", 30.0),
  }


def gemma3_caps(read: ConfigJson, _: Fields) -> Fields:
  """Reads Gemma 3's soft cap of logits; one of scores is refused."""
  read.only("attn_logit_softcapping")
  return {"logit_cap": read.nullable("final_logit_softcapping", None)}


def rope(read: ConfigJson, _: Fields) -> Fields:
  """Reads one RoPE for all layers."""
  return {"ropes": (rope_json.read_rope(read),)}


def phi3_rope(read: ConfigJson, _: Fields) -> Fields:
  """Reads Phi-3's RoPE, which may turn a part of each head alone."""
  rope = rope_json.read_rope(read, types=("default",), partial=True)
  return {"ropes": (rope,)}


def smollm3_ropes(read: ConfigJson, fields: Fields) -> Fields:
  """Reads SmolLM3's RoPE, and which layers go without (one in four)."""
  rope = rope_json.read_rope(read, 2_000_000.0)
  every = read.size("no_rope_layer_interval", 4)
  turns = [(i + 1) % every > 0 for i in range(fields["layers"])]
  given = read.take("no_rope_layers", None)
  if given is not None:
    # Ones are the layers that have RoPE, whatever the name says.
    if not isinstance(given, list) or len(given) != len(turns):
      read.refuse("no_rope_layers", given, f"is not a list of {len(turns)}")
    if not all(each in (0, 1) for each in given):
      read.refuse("no_rope_layers", given, "is not of ones and zeros")
    turns = [bool(each) for each in given]
  return {"ropes": tuple(rope if each else NOPE for each in turns)}


def smollm3_windows(read: ConfigJson, fields: Fields) -> Fields:
  """Reads SmolLM3's sliding window, which is of layers without RoPE."""
  window = read.size("sliding_window", None)
  if not read.flag("use_sliding_window", False):
    window = None
  ropes = fields["ropes"]
  slides = [window is not None and rope == NOPE for rope in ropes]
  slides = _layer_types(read, slides)
  if window is None:
    slides = [False] * len(slides)  # layer_types alone makes none slide
  return {"windows": _windows(window, slides, read)}


def phi3_window(read: ConfigJson, _: Fields) -> Fields:
  """Reads Phi-3's sliding window: all layers slide, or none."""
  return {"windows": (read.size("sliding_window", None),)}


def qwen3_moe_window(read: ConfigJson, _: Fields) -> Fields:
  """Reads the window of a Qwen 3 with experts: all layers slide, or none."""
  window = _window(read)
  slides = read.flag("use_sliding_window", False)
  return {"windows": (window if slides else None,)}


def mixtral_rope(read: ConfigJson, _: Fields) -> Fields:
  """Reads Mixtral's RoPE."""
  return {"ropes": (rope_json.read_rope(read, 1_000_000.0),)}


def qwen3_experts(read: ConfigJson, fields: Fields) -> Fields:
  """Reads the experts of a Qwen 3, and which layers have any."""
  every = read.size("decoder_sparse_step", 1)
  plain = read.take("mlp_only_layers", [])
  n = fields["layers"]
  if not isinstance(plain, list) or not all(
    isinstance(i, int) and not isinstance(i, bool) and 0 <= i < n for i in plain
  ):
    read.refuse("mlp_only_layers", plain, f"is not a list of layers below {n}")
  mixture = _mixture(
    read,
    0.001,
    width=read.size("moe_intermediate_size"),
    normalised=read.flag("norm_topk_prob", False),
    dense=tuple(i for i in range(n) if i in plain or (i + 1) % every),
  )
  # Where no layer has experts, there is no mixture.
  return {"experts": mixture if len(mixture.dense) < n else None}


def olmoe_experts(read: ConfigJson, fields: Fields) -> Fields:
  """Reads the experts of an OLMoE."""
  read.only("clip_qkv")
  normalised = read.flag("norm_topk_prob", False)
  width = fields["mlp_width"]
  mixture = _mixture(read, 0.01, width=width, normalised=normalised)
  return {"experts": mixture}


def mixtral_experts(read: ConfigJson, fields: Fields) -> Fields:
  """Reads the experts of a Mixtral."""
  # Noise of training; what is scored here is the model without.
  read.only("router_jitter_noise", 0.0)
  return {"experts": _mixture(read, 0.001, width=fields["mlp_width"])}


def _mixture(read: ConfigJson, balance: float, **more: Any) -> Mixture:
  """Reads what all families with experts have.

  Args:
    read: the file.
    balance: weight of the load-balancing loss if config.json does not say.
    more: fields of the `Mixture`.
  """
  count = read.size("num_experts", read.size("num_local_experts", None))
  if count is None:
    read.take("num_experts")
  elif read.size("num_local_experts", count) != count:
    read.refuse("num_experts", count, "is not the number in num_local_experts")
  chosen = read.size("num_experts_per_tok")
  if chosen > count:
    read.refuse("num_experts_per_tok", chosen, f"is above the {count} experts")
  key = "router_aux_loss_coef"
  if read.take(key, balance) != 0:
    balance = float(read.number(key, balance))
  else:
    balance = 0.0
  return Mixture(count, chosen, balance=balance, **more)


def gemma_activation(read: ConfigJson, fields: Fields) -> Fields:
  """Reads Gemma 1's activation: "gelu" in its files means gelu_tanh."""
  key = "hidden_activation"
  if read.take(key, None) is None:
    key = "hidden_act"
    if read.take(key, "gelu") == "gelu":
      return {"activation": "gelu_tanh"}
  return activation(key, read, fields)


def same_window(read: ConfigJson, _: Fields) -> Fields:
  """Reads Mistral's sliding window: all layers slide, or none."""
  return {"windows": (_window(read),)}


def last_layers_slide(read: ConfigJson, fields: Fields) -> Fields:
  """Reads Qwen's sliding window: layers from max_window_layers on."""
  window = _window(read)
  first = read.take("max_window_layers", 28)
  if not isinstance(first, int):
    read.refuse("max_window_layers", first, "must be a whole number")
  if not read.flag("use_sliding_window", False):
    window = None
  slides = [window is not None and i >= first for i in range(fields["layers"])]
  return {"windows": _windows(window, _layer_types(read, slides), read)}


def every_other_slides(read: ConfigJson, fields: Fields) -> Fields:
  """Reads Gemma 2's sliding window: layers 0, 2, 4, ... slide."""
  slides = [i % 2 == 0 for i in range(fields["layers"])]
  window = _window(read)
  return {"windows": _windows(window, _layer_types(read, slides), read)}


def five_of_six_slide(read: ConfigJson, fields: Fields) -> Fields:
  """Reads Gemma 3's sliding window, and the two RoPEs of its layers."""
  period = read.size("_sliding_window_pattern", 6)
  period = read.size("sliding_window_pattern", period)
  slides = [(i + 1) % period > 0 for i in range(fields["layers"])]
  slides = _layer_types(read, slides)
  window = _window(read)
  full, sliding = rope_json.read_gemma3_ropes(read)
  return {
    "windows": _windows(window, slides, read),
    "ropes": tuple(sliding if s else full for s in slides),
  }


def _window(read: ConfigJson) -> int | None:
  window = read.nullable("sliding_window", 4096)
  if window is not None and not isinstance(window, int):
    read.refuse("sliding_window", window, "must be a whole number")
  return window


def _layer_types(read: ConfigJson, slides: list[bool]) -> list[bool]:
  """Reads which layers slide; `slides` if config.json does not say."""
  names = {"full_attention": False, "sliding_attention": True}
  types = read.take("layer_types", None)
  if types is None:
    return slides
  if not isinstance(types, list) or len(types) != len(slides):
    read.refuse("layer_types", types, f"is not a list of {len(slides)} layers")
  for each in types:
    if not isinstance(each, str) or each not in names:
      read.refuse("layer_types", each, f"is not one of {', '.join(names)}")
  return [names[each] for each in types]


def _windows(
  window: int | None, slides: list[bool], read: ConfigJson
) -> tuple[int | None, ...]:
  if any(slides) and window is None:
    read.refuse("layer_types", "sliding_attention", "has no sliding_window")
  return tuple(window if s else None for s in slides)


def gpt2_scores(read: ConfigJson, _: Fields) -> Fields:
  """Reads whether GPT-2's scores are divided by sqrt(D)."""
  read.only("scale_attn_by_inverse_layer_idx", False)
  scaled = read.flag("scale_attn_weights", True)
  return {"score_scale": None if scaled else 1.0}
