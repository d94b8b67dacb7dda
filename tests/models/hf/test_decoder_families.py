"""config.json to switches: published ones, both spellings, and refusals."""

import json

import numpy as np
import pytest

from offalign.errors import UserError
from offalign.models.decoder.config import Mixture
from offalign.models.hf import decoder_families
from offalign.models.hf.weight_layout import assemble, disassemble, whole
from offalign.models.positions import Rope


def without(raw, *keys):
  return {k: v for k, v in raw.items() if k not in keys}


COMMON = {
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": [2, 3],
  "initializer_range": 0.02,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.43.1",
  "use_cache": True,
}

LLAMA_31 = COMMON | {
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": False,
  "hidden_act": "silu",
  "hidden_size": 4096,
  "intermediate_size": 14336,
  "max_position_embeddings": 131072,
  "mlp_bias": False,
  "model_type": "llama",
  "num_attention_heads": 32,
  "num_hidden_layers": 32,
  "num_key_value_heads": 8,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
  },
  "rope_theta": 500000.0,
  "tie_word_embeddings": False,
  "vocab_size": 128256,
}

MISTRAL_01 = COMMON | {
  "architectures": ["MistralForCausalLM"],
  "hidden_act": "silu",
  "hidden_size": 4096,
  "intermediate_size": 14336,
  "max_position_embeddings": 32768,
  "model_type": "mistral",
  "num_attention_heads": 32,
  "num_hidden_layers": 32,
  "num_key_value_heads": 8,
  "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0,
  "sliding_window": 4096,
  "tie_word_embeddings": False,
  "vocab_size": 32000,
}

QWEN_25 = COMMON | {
  "architectures": ["Qwen2ForCausalLM"],
  "hidden_act": "silu",
  "hidden_size": 896,
  "intermediate_size": 4864,
  "max_position_embeddings": 32768,
  "max_window_layers": 21,
  "model_type": "qwen2",
  "num_attention_heads": 14,
  "num_hidden_layers": 24,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "sliding_window": 32768,
  "tie_word_embeddings": True,
  "use_mrope": False,
  "use_sliding_window": False,
  "vocab_size": 151936,
}

QWEN_3 = QWEN_25 | {
  "architectures": ["Qwen3ForCausalLM"],
  "attention_bias": False,
  "head_dim": 128,
  "model_type": "qwen3",
  "rope_scaling": None,
  "sliding_window": None,
}

GEMMA_2 = COMMON | {
  "architectures": ["Gemma2ForCausalLM"],
  "attention_bias": False,
  "attn_logit_softcapping": 50.0,
  "cache_implementation": "hybrid",
  "final_logit_softcapping": 30.0,
  "head_dim": 256,
  "hidden_act": "gelu_pytorch_tanh",
  "hidden_activation": "gelu_pytorch_tanh",
  "hidden_size": 3584,
  "intermediate_size": 14336,
  "max_position_embeddings": 8192,
  "model_type": "gemma2",
  "num_attention_heads": 16,
  "num_hidden_layers": 42,
  "num_key_value_heads": 8,
  "pad_token_id": 0,
  "query_pre_attn_scalar": 256,
  "rms_norm_eps": 1e-06,
  "rope_theta": 10000.0,
  "sliding_window": 4096,
  "sliding_window_size": 4096,
  "vocab_size": 256000,
}

GEMMA_3 = COMMON | {
  "architectures": ["Gemma3ForCausalLM"],
  "attention_bias": False,
  "attn_logit_softcapping": None,
  "cache_implementation": "hybrid",
  "final_logit_softcapping": None,
  "head_dim": 256,
  "hidden_activation": "gelu_pytorch_tanh",
  "hidden_size": 1152,
  "intermediate_size": 6912,
  "max_position_embeddings": 32768,
  "model_type": "gemma3_text",
  "num_attention_heads": 4,
  "num_hidden_layers": 26,
  "num_key_value_heads": 1,
  "query_pre_attn_scalar": 256,
  "rms_norm_eps": 1e-06,
  "rope_local_base_freq": 10000,
  "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
  "rope_theta": 1000000,
  "sliding_window": 512,
  "sliding_window_pattern": 6,
  "vocab_size": 262144,
}

QWEN_3_MOE = without(QWEN_3, "tie_word_embeddings") | {
  "architectures": ["Qwen3MoeForCausalLM"],
  "decoder_sparse_step": 1,
  "mlp_only_layers": [],
  "model_type": "qwen3_moe",
  "moe_intermediate_size": 768,
  "norm_topk_prob": True,
  "num_experts": 128,
  "num_experts_per_tok": 8,
  "output_router_logits": False,
  "router_aux_loss_coef": 0.001,
}

GPT_2 = {
  "activation_function": "gelu_new",
  "architectures": ["GPT2LMHeadModel"],
  "attn_pdrop": 0.1,
  "bos_token_id": 50256,
  "embd_pdrop": 0.1,
  "eos_token_id": 50256,
  "initializer_range": 0.02,
  "layer_norm_epsilon": 1e-05,
  "model_type": "gpt2",
  "n_ctx": 1024,
  "n_embd": 768,
  "n_head": 12,
  "n_layer": 12,
  "n_positions": 1024,
  "resid_pdrop": 0.1,
  "summary_activation": None,
  "summary_first_dropout": 0.1,
  "summary_proj_to_labels": True,
  "summary_type": "cls_index",
  "summary_use_proj": True,
  "task_specific_params": {"text-generation": {"max_length": 50}},
  "vocab_size": 50257,
}

LOCAL, GLOBAL = Rope(10_000.0), Rope(1_000_000.0, 8.0)

PUBLISHED = {
  "llama": (
    LLAMA_31,
    {
      "kv_heads": 8,
      "head_dim": None,
      "ropes": (Rope(500_000.0, 8.0, (1.0, 4.0, 8192.0)),),
      "windows": (None,),
      "activation": "silu",
      "gated": True,
      "epsilon": 1e-5,
      "tied": False,
      "biases": (),
    },
  ),
  "mistral": (MISTRAL_01, {"windows": (4096,), "ropes": (Rope(),)}),
  "qwen2": (
    QWEN_25,
    {
      "biases": ("query", "key", "value"),
      "windows": (None,) * 24,
      "tied": True,
      "qk_norm": False,
    },
  ),
  "qwen3": (QWEN_3, {"qk_norm": True, "biases": (), "head_dim": 128}),
  "qwen3_moe": (
    QWEN_3_MOE,
    {
      "experts": Mixture(128, 8, 768, balance=0.001),
      "sparse": (True,) * 24,
      "tied": False,
      "windows": (None,),
    },
  ),
  "gemma2": (
    GEMMA_2,
    {
      "windows": (4096, None) * 21,
      "score_scale": 1 / 16,
      "score_cap": 50.0,
      "logit_cap": 30.0,
      "plus_one": True,
      "post_norms": True,
      "embedding_scale": True,
      "tied": True,
      "activation": "gelu_tanh",
    },
  ),
  "gemma3_text": (
    GEMMA_3,
    {
      "windows": ((512,) * 5 + (None,)) * 4 + (512,) * 2,
      "ropes": ((LOCAL,) * 5 + (GLOBAL,)) * 4 + (LOCAL,) * 2,
      "qk_norm": True,
      "score_cap": None,
      "logit_cap": None,
    },
  ),
  "gpt2": (
    GPT_2,
    {
      "positions": "learned",
      "max_positions": 1024,
      "norm": "layer",
      "gated": False,
      "inner": 3072,
      "tied": True,
      "biases": ("query", "key", "value", "out", "up", "down"),
    },
  ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name):
  raw, expected = PUBLISHED[name]
  config = decoder_families.from_hf(json.loads(json.dumps(raw)))
  assert config.family == name
  assert {field: getattr(config, field) for field in expected} == expected


SLIDES = ["sliding_attention"] * 5 + ["full_attention"]
VERSION_5 = [
  (
    LLAMA_31,
    without(LLAMA_31, "rope_theta", "rope_scaling", "torch_dtype")
    | {
      "dtype": "bfloat16",
      "rope_parameters": LLAMA_31["rope_scaling"] | {"rope_theta": 500_000.0},
    },
  ),
  (
    GEMMA_3,
    without(
      GEMMA_3,
      "rope_theta",
      "rope_scaling",
      "rope_local_base_freq",
      "sliding_window_pattern",
    )
    | {
      "_sliding_window_pattern": 6,
      "layer_types": SLIDES * 4 + SLIDES[:2],
      "use_bidirectional_attention": False,
      "rope_parameters": {
        "full_attention": {
          "rope_type": "linear",
          "factor": 8.0,
          "rope_theta": 1_000_000.0,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
      },
    },
  ),
  (
    QWEN_3,
    without(QWEN_3, "rope_theta", "rope_scaling")
    | {
      "layer_types": ["full_attention"] * 24,
      "rope_parameters": {"rope_theta": 1_000_000.0, "rope_type": "default"},
    },
  ),
]


@pytest.mark.parametrize(("old", "new"), VERSION_5)
def test_both_spellings_mean_the_same(old, new):
  assert decoder_families.from_hf(old) == decoder_families.from_hf(new)


def test_layer_types_come_before_patterns():
  raw = QWEN_25 | {"use_sliding_window": True, "sliding_window": 7}
  last = decoder_families.from_hf(raw).windows
  assert last == (None,) * 21 + (7,) * 3
  first = ["sliding_attention"] * 2 + ["full_attention"] * 22
  told = decoder_families.from_hf(raw | {"layer_types": first}).windows
  assert told == (7,) * 2 + (None,) * 22


def test_null_is_not_missing():
  assert decoder_families.from_hf(
    MISTRAL_01 | {"sliding_window": None}
  ).windows == (None,)
  uncapped = GEMMA_2 | {"attn_logit_softcapping": None}
  assert decoder_families.from_hf(uncapped).score_cap is None
  missing = without(GEMMA_2, "attn_logit_softcapping")
  assert decoder_families.from_hf(missing).score_cap == 50.0


def test_which_layers_have_experts():
  def sparse(**changed):
    config = decoder_families.from_hf(
      QWEN_3_MOE | {"num_hidden_layers": 5} | changed
    )
    return config.experts and config.sparse

  assert sparse(decoder_sparse_step=2, mlp_only_layers=[3]) == (
    False,
    True,
    False,
    False,
    False,
  )
  assert sparse(decoder_sparse_step=6) is None


def test_a_weight_of_nothing_balances_nothing():
  off = decoder_families.from_hf(QWEN_3_MOE | {"router_aux_loss_coef": 0})
  assert off.experts.balance == 0


def rope(kind, **more):
  return {"rope_scaling": {"rope_type": kind, "factor": 2.0} | more}


@pytest.mark.parametrize(
  ("raw", "changed", "error"),
  [
    (LLAMA_31, {"model_type": "phi"}, "model_type='phi' is not one of llama"),
    (GEMMA_3, {"model_type": "gemma3"}, "'gemma3' is not one of .*gemma3_text"),
    (
      LLAMA_31,
      {"architectures": ["LlamaForSequenceClassification"]},
      "LlamaForSequenceClassification'\\] is a classifier, such as",
    ),
    (LLAMA_31, rope("su"), "rope_scaling: rope_type='su' is not implemented"),
    (LLAMA_31, rope("dynamic"), "rope_type='dynamic' is not implemented"),
    (LLAMA_31, rope("longrope"), "only default, linear, llama3, yarn are"),
    (
      LLAMA_31,
      {"rope_scaling": {"type": "su", "factor": 4.0}},
      "rope_type='su'",
    ),
    (LLAMA_31, rope("linear", beta_fast=32), "not implemented: beta_fast=32"),
    (LLAMA_31, {"rope_scaling": {"type": "linear"}}, "lacks 'factor'"),
    (LLAMA_31, rope("llama3"), "rope_scaling lacks 'low_freq_factor'"),
    (LLAMA_31, {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    (
      LLAMA_31,
      {"rope_parameters": {"rope_type": "default"}},
      "rope_scaling=.* is said again in rope_parameters",
    ),
    (
      MISTRAL_01,
      {"rope_parameters": {"rope_theta": 1e6}},
      "rope_theta=10000.0 is not that of rope_parameters",
    ),
    (
      GEMMA_3,
      {"rope_scaling": None, "rope_parameters": {"rope_type": "default"}},
      "full_attention and sliding_attention alone",
    ),
    (LLAMA_31, {"hidden_act": "gelu_10"}, "hidden_act='gelu_10' is not one of"),
    (LLAMA_31, {"hidden_size": None}, "lacks 'hidden_size'"),
    (LLAMA_31, {"hidden_size": "4096"}, "hidden_size='4096' must be a number"),
    (LLAMA_31, {"num_hidden_layers": 0}, "num_hidden_layers=0 must be above 0"),
    (LLAMA_31, {"num_key_value_heads": 5}, r"\(5\) do not divide heads=32"),
    (LLAMA_31, {"attention_bias": 1}, "attention_bias=1 must be true or false"),
    (LLAMA_31, {"quantization_config": {}}, "not implemented: quantization_co"),
    (LLAMA_31, {"auto_map": {"AutoModel": "x.Y"}}, "not implemented: auto_map"),
    (LLAMA_31, rope("yarn", beta_past=3), "not implemented: beta_past=3"),
    (LLAMA_31, {"qk_norm": True}, "not implemented: qk_norm=True"),
    (LLAMA_31, {"sliding_window": 4096}, "implemented: sliding_window=4096"),
    (MISTRAL_01, {"layer_types": ["x"]}, "not implemented: layer_types"),
    (MISTRAL_01, {"sliding_window": 4.5}, "4.5 must be a whole number"),
    (QWEN_25, {"use_mrope": True}, "use_mrope=True is not implemented"),
    (QWEN_3, {"head_dim": None}, "lacks 'head_dim'"),
    (QWEN_25, {"layer_types": ["full_attention"]}, "not a list of 24 layers"),
    (
      QWEN_25,
      {"layer_types": ["sliding_attention"] * 24},
      "has no sliding_window",
    ),
    (
      GEMMA_2,
      {"layer_types": ["chunked_attention"] * 42},
      "layer_types='chunked_attention' is not one of",
    ),
    (GEMMA_2, {"query_pre_attn_scalar": None}, "lacks 'query_pre_attn_scalar'"),
    (
      GEMMA_2,
      {"use_bidirectional_attention": True},
      "use_bidirectional_attention=True is not implemented",
    ),
    (GEMMA_3, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0"),
    (QWEN_3_MOE, {"num_experts": None}, "lacks 'num_experts'"),
    (QWEN_3_MOE, {"num_local_experts": 64}, "is not the number in num_local"),
    (QWEN_3_MOE, {"num_experts_per_tok": 129}, "129 is above the 128 experts"),
    (QWEN_3_MOE, {"mlp_only_layers": [24]}, "is not a list of layers below 24"),
    (QWEN_3_MOE, {"router_aux_loss_coef": -1}, "must be above 0"),
    (GPT_2, {"add_cross_attention": True}, "add_cross_attention=True"),
    (
      GPT_2,
      {"scale_attn_by_inverse_layer_idx": True},
      "scale_attn_by_inverse_layer_idx=True",
    ),
  ],
)
def test_what_is_not_implemented_is_named(raw, changed, error):
  with pytest.raises(UserError, match=error):
    decoder_families.from_hf(raw | changed)


def test_keys_that_change_nothing_change_nothing():
  more = {"pruned_heads": {}, "top_k": 5, "rope_scaling": None, "x": None}
  assert decoder_families.from_hf(MISTRAL_01) == decoder_families.from_hf(
    MISTRAL_01 | more
  )


def test_rates_of_llama_3():
  rates = Rope(500_000.0, 8.0, (1.0, 4.0, 8192.0)).rates(128)
  plain = 500_000.0 ** (-np.arange(64) / 64)
  waves = 2 * np.pi / plain
  np.testing.assert_allclose(rates[waves < 2048], plain[waves < 2048], 1e-5)
  slow = waves > 8192
  np.testing.assert_allclose(rates[slow], plain[slow] / 8, 1e-5)
  between = ~slow & (waves >= 2048)
  assert between.any()
  share = (8192 / waves[between] - 1) / 3
  expected = (share + (1 - share) / 8) * plain[between]
  np.testing.assert_allclose(rates[between], expected, 1e-5)


TINY_GPT_2 = GPT_2 | {"vocab_size": 7, "n_embd": 4, "n_head": 2, "n_layer": 2}


def test_fused_tensors_are_cut_and_joined():
  sources = decoder_families.weight_map(decoder_families.from_hf(TINY_GPT_2))
  fused = np.arange(48.0).reshape(4, 12)
  tensors = {f"transformer.h.{i}.attn.c_attn.weight": i + fused for i in (0, 1)}
  read = lambda name, index: tensors[name][index]
  for i, name in enumerate(("query", "key", "value")):
    source = sources[f"layers/{name}/kernel"]
    part = slice(4 * i, 4 * i + 4)
    leaf = assemble(source, read, whole(3))
    np.testing.assert_array_equal(leaf, [fused[:, part], 1 + fused[:, part]])
    shard = (slice(1, 2), slice(None), slice(1, 3))
    np.testing.assert_array_equal(assemble(source, read, shard), leaf[shard])
    for name, rows, tensor in disassemble(source, leaf):
      assert rows == (part.start, part.stop)
      np.testing.assert_array_equal(tensor, tensors[name][:, part])


def test_linear_maps_are_transposed():
  raw = QWEN_25 | {
    "hidden_size": 4,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 6,
    "vocab_size": 7,
    "tie_word_embeddings": False,
  }
  config = decoder_families.from_hf(raw)
  sources = decoder_families.weight_map(config)
  source = sources["layers/down/kernel"]
  assert source.names[1] == "model.layers.1.mlp.down_proj.weight"
  tensors = {
    name: i + np.arange(24.0).reshape(4, 6)
    for i, name in enumerate(source.names)
  }
  read = lambda name, index: tensors[name][index]
  leaf = assemble(source, read, whole(3), dtype="float16")
  assert leaf.dtype == np.float16
  np.testing.assert_array_equal(leaf[1], tensors[source.names[1]].T)
  shard = (slice(0, 2), slice(2, 5), slice(1, 3))
  np.testing.assert_array_equal(assemble(source, read, shard), leaf[shard])
  for name, rows, tensor in disassemble(source, leaf):
    assert rows is None
    np.testing.assert_array_equal(tensor, tensors[name])
  assert decoder_families.duplicates(config) == {}
  tied = decoder_families.from_hf(raw | {"tie_word_embeddings": True})
  assert "head/kernel" not in decoder_families.weight_map(tied)
  assert decoder_families.duplicates(tied) == {
    "lm_head.weight": "model.embed_tokens.weight"
  }
