"""config.json as published: keys that change nothing pass, others do not.

The files are written down from published ones, with the keys that are beside
those of the configuration classes: who made them, what other programs left.
"""

import dataclasses
import json

import pytest

from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf.architectures import find_family
from offalign.models.hf.config_json import IGNORED, ignoring

_LLAMA = {
  "architectures": ["LlamaForCausalLM"],
  "bos_token_id": 1,
  "eos_token_id": 2,
  "hidden_act": "silu",
  "initializer_range": 0.02,
  "model_type": "llama",
  "rms_norm_eps": 1e-05,
  "tie_word_embeddings": False,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.40.1",
  "use_cache": True,
}


def _sized(base, width, mlp, layers, heads, groups, positions, vocab, **more):
  return base | {
    "hidden_size": width,
    "intermediate_size": mlp,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "num_key_value_heads": groups,
    "max_position_embeddings": positions,
    "vocab_size": vocab,
    **more,
  }


_LLAMA_2 = _sized(_LLAMA, 4096, 11008, 32, 32, 32, 4096, 32000)
_LLAMA_3 = _sized(
  _LLAMA, 4096, 14336, 32, 32, 8, 8192, 128256, rope_theta=500000.0
)
_LLAMA_31 = _LLAMA_3 | {
  "attention_bias": False,
  "attention_dropout": 0.0,
  "eos_token_id": [128001, 128008, 128009],
  "max_position_embeddings": 131072,
  "mlp_bias": False,
  "pretraining_tp": 1,
  "rope_scaling": {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
  },
}
_LLAMA_32 = _LLAMA_31 | {
  "head_dim": 64,
  "hidden_size": 2048,
  "intermediate_size": 8192,
  "num_hidden_layers": 16,
  "rope_scaling": _LLAMA_31["rope_scaling"] | {"factor": 32.0},
  "tie_word_embeddings": True,
}
_SMOL = _sized(
  _LLAMA,
  576,
  1536,
  30,
  9,
  3,
  8192,
  49152,
  attention_bias=False,
  attention_dropout=0.0,
  initializer_range=0.041666666666666664,
  is_llama_config=True,
  mlp_bias=False,
  pad_token_id=2,
  pretraining_tp=1,
  rope_interleaved=False,
  rope_scaling=None,
  rope_theta=100000,
  tie_word_embeddings=True,
)
_MISTRAL = _sized(
  _LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral"},
  4096,
  14336,
  32,
  32,
  8,
  32768,
  32000,
  rope_theta=10000.0,
  sliding_window=4096,
)
_QWEN_2 = _sized(
  _LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
  896,
  4864,
  24,
  14,
  2,
  32768,
  151936,
  attention_dropout=0.0,
  bos_token_id=151643,
  eos_token_id=151645,
  max_window_layers=24,
  rms_norm_eps=1e-06,
  rope_theta=1000000.0,
  sliding_window=32768,
  tie_word_embeddings=True,
  use_mrope=False,
  use_sliding_window=False,
)
_QWEN_25_7B = _QWEN_2 | {
  "hidden_size": 3584,
  "intermediate_size": 18944,
  "max_window_layers": 28,
  "num_attention_heads": 28,
  "num_hidden_layers": 28,
  "num_key_value_heads": 4,
  "tie_word_embeddings": False,
  "vocab_size": 152064,
}
_QWEN_3 = _QWEN_2 | {
  "architectures": ["Qwen3ForCausalLM"],
  "attention_bias": False,
  "head_dim": 128,
  "hidden_size": 1024,
  "intermediate_size": 3072,
  "max_position_embeddings": 40960,
  "max_window_layers": 28,
  "model_type": "qwen3",
  "num_attention_heads": 16,
  "num_hidden_layers": 28,
  "num_key_value_heads": 8,
  "rope_scaling": None,
  "sliding_window": None,
}
del _QWEN_3["use_mrope"]
_GEMMA = {
  "attention_bias": False,
  "attention_dropout": 0.0,
  "bos_token_id": 2,
  "eos_token_id": 1,
  "head_dim": 256,
  "initializer_range": 0.02,
  "max_position_embeddings": 8192,
  "pad_token_id": 0,
  "rms_norm_eps": 1e-06,
  "rope_theta": 10000.0,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.38.0.dev0",
  "use_cache": True,
}
_GEMMA_1 = _sized(
  _GEMMA | {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"},
  2048,
  16384,
  18,
  8,
  1,
  8192,
  256000,
  hidden_act="gelu",
  hidden_activation=None,
  rope_scaling=None,
)
_GEMMA_2 = _sized(
  _GEMMA | {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"},
  2304,
  9216,
  26,
  8,
  4,
  8192,
  256000,
  attn_logit_softcapping=50.0,
  cache_implementation="hybrid",
  final_logit_softcapping=30.0,
  hidden_act="gelu_pytorch_tanh",
  hidden_activation="gelu_pytorch_tanh",
  query_pre_attn_scalar=256,
  sliding_window=4096,
)
_GEMMA_3 = _sized(
  _GEMMA
  | {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"},
  1152,
  6912,
  26,
  4,
  1,
  32768,
  262144,
  attn_logit_softcapping=None,
  cache_implementation="hybrid",
  eos_token_id=[1, 106],
  final_logit_softcapping=None,
  hidden_activation="gelu_pytorch_tanh",
  query_pre_attn_scalar=256,
  rope_local_base_freq=10000,
  rope_scaling=None,
  rope_theta=1000000,
  sliding_window=512,
  sliding_window_pattern=6,
)
_PHI_3 = _sized(
  _LLAMA | {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"},
  3072,
  8192,
  32,
  32,
  32,
  4096,
  32064,
  _name_or_path="Phi-3-mini-4k-instruct",
  attention_bias=False,
  attention_dropout=0.0,
  auto_map={
    "AutoConfig": "configuration_phi3.Phi3Config",
    "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
  },
  embd_pdrop=0.0,
  eos_token_id=32000,
  original_max_position_embeddings=4096,
  pad_token_id=32000,
  resid_pdrop=0.0,
  rope_scaling=None,
  rope_theta=10000.0,
  sliding_window=2047,
)
_SMOL_3 = _sized(
  _LLAMA | {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3"},
  2048,
  11008,
  36,
  16,
  4,
  65536,
  128256,
  attention_bias=False,
  attention_dropout=0.0,
  layer_types=["full_attention"] * 36,
  max_window_layers=28,
  mlp_bias=False,
  no_rope_layer_interval=4,
  no_rope_layers=[1, 1, 1, 0] * 9,
  pretraining_tp=2,
  rms_norm_eps=1e-06,
  rope_scaling=None,
  rope_theta=5000000.0,
  sliding_window=None,
  tie_word_embeddings=True,
  use_sliding_window=False,
)
_OLMO_2 = _sized(
  _LLAMA | {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2"},
  4096,
  11008,
  32,
  32,
  32,
  4096,
  100352,
  attention_bias=False,
  attention_dropout=0.0,
  eos_token_id=100257,
  pad_token_id=100277,
  rms_norm_eps=1e-06,
  rope_scaling=None,
  rope_theta=500000,
)
_GPT_2 = {
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
  "task_specific_params": {
    "text-generation": {"do_sample": True, "max_length": 50}
  },
  "vocab_size": 50257,
}
_T5 = {
  "architectures": ["T5ForConditionalGeneration"],
  "d_ff": 2048,
  "d_kv": 64,
  "d_model": 512,
  "decoder_start_token_id": 0,
  "dropout_rate": 0.1,
  "eos_token_id": 1,
  "initializer_factor": 1.0,
  "is_encoder_decoder": True,
  "layer_norm_epsilon": 1e-06,
  "model_type": "t5",
  "n_positions": 512,
  "num_heads": 8,
  "num_layers": 6,
  "output_past": True,
  "pad_token_id": 0,
  "relative_attention_num_buckets": 32,
  "task_specific_params": {"summarization": {"num_beams": 4}},
  "vocab_size": 32128,
}
_T5_V11 = _T5 | {
  "d_ff": 1024,
  "feed_forward_proj": "gated-gelu",
  "num_decoder_layers": 8,
  "num_heads": 6,
  "num_layers": 8,
  "tie_word_embeddings": False,
  "use_cache": True,
}
_YARN = {
  "factor": 4.0,
  "original_max_position_embeddings": 32768,
  "type": "yarn",
}

PUBLISHED = {
  "meta-llama/Llama-2-7b-hf": _LLAMA_2
  | {"_name_or_path": "meta-llama/Llama-2-7b-hf", "pretraining_tp": 1},
  "lmsys/vicuna-7b-v1.5": _LLAMA_2 | {"pad_token_id": 0},
  "codellama/CodeLlama-7b-hf": _LLAMA_2
  | {"rope_theta": 1000000, "vocab_size": 32016},
  "01-ai/Yi-6B": _LLAMA_2
  | {
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "rope_theta": 5000000.0,
    "vocab_size": 64000,
  },
  "TinyLlama/TinyLlama-1.1B-Chat-v1.0": _sized(
    _LLAMA, 2048, 5632, 22, 32, 4, 2048, 32000, attention_bias=False
  ),
  "meta-llama/Meta-Llama-3-8B": _LLAMA_3,
  "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_31,
  "meta-llama/Llama-3.2-1B": _LLAMA_32,
  "unsloth/Llama-3.2-1B-Instruct": _LLAMA_32
  | {"pad_token_id": 128004, "unsloth_fixed": True},
  "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": _LLAMA_31
  | {"bos_token_id": 128000, "eos_token_id": 128001},
  "HuggingFaceTB/SmolLM2-135M": _SMOL | {"pad_token_id": None},
  "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOL
  | {"transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}}},
  "a folder made of a GGUF": _SMOL
  | {"_model_name_or_path": "SmolLM2", "unk_token_id": 0},
  "HuggingFaceH4/zephyr-7b-beta": _MISTRAL
  | {"neftune_noise_alpha": 5.0, "pad_token_id": 2},
  "mistralai/Mistral-7B-v0.1": _MISTRAL,
  "mistralai/Mistral-7B-Instruct-v0.3": _MISTRAL
  | {
    "attention_dropout": 0.0,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "vocab_size": 32768,
  },
  "mistralai/Mistral-Nemo-Instruct-2407": _MISTRAL
  | {"head_dim": 128, "hidden_size": 5120, "sliding_window": None},
  "Qwen/Qwen2-0.5B": _QWEN_2,
  "Qwen/Qwen2.5-0.5B-Instruct": _QWEN_2 | {"max_window_layers": 21},
  "Qwen/Qwen2.5-7B": _QWEN_25_7B,
  "Qwen/Qwen2.5-7B-Instruct, long": _QWEN_25_7B | {"rope_scaling": _YARN},
  "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _QWEN_2
  | {"max_window_layers": 21, "tie_word_embeddings": False},
  "Qwen/Qwen3-0.6B": _QWEN_3,
  "Qwen/Qwen3-8B": _QWEN_3
  | {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 36},
  "google/gemma-2b": _GEMMA_1,
  "google/gemma-1.1-7b-it": _GEMMA_1
  | {
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
  },
  "google/gemma-2-2b": _GEMMA_2,
  "google/gemma-2-9b-it": _GEMMA_2
  | {"hidden_size": 3584, "num_hidden_layers": 42, "sliding_window_size": 4096},
  "google/gemma-3-1b-it": _GEMMA_3,
  "google/gemma-3-270m": {
    **_GEMMA_3,
    "_sliding_window_pattern": 6,
    "hidden_size": 640,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "num_hidden_layers": 18,
    "sliding_window_pattern": None,
    "use_bidirectional_attention": False,
  },
  "microsoft/Phi-3-mini-4k-instruct": _PHI_3,
  "HuggingFaceTB/SmolLM3-3B": _SMOL_3,
  "allenai/OLMo-2-1124-7B": _OLMO_2,
  "openai-community/gpt2": _GPT_2,
  "openai-community/gpt2-xl": _GPT_2
  | {"n_embd": 1600, "n_head": 25, "n_layer": 48, "output_past": True},
  "distilbert/distilgpt2": _GPT_2
  | {
    "_num_labels": 1,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "n_layer": 6,
  },
  "google-t5/t5-small": _T5,
  "google-t5/t5-base": _T5 | {"d_model": 768, "num_heads": 12},
  "google/t5-v1_1-small": _T5_V11,
  "google/flan-t5-small": _T5_V11 | {"transformers_version": "4.23.1"},
  "google/t5-small-lm-adapt": _T5_V11 | {"gradient_checkpointing": False},
}
"""The files of the 40 checkpoints."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_says_what_transformers_reads_in_it(name):
  """Its model is that of the file which transformers writes of it."""
  transformers = pytest.importorskip("transformers")
  raw = PUBLISHED[name]
  family = find_family(raw, name)
  theirs = transformers.AutoConfig.for_model(**raw).to_dict()
  for key in ("auto_map", "_num_labels"):
    theirs.pop(key, None)
  assert _spelled(family.from_hf(raw)) == _spelled(family.from_hf(theirs))


def _spelled(config):
  """With the size of heads written out, as transformers writes it."""
  if not hasattr(config, "head_size"):
    return config
  return dataclasses.replace(config, head_dim=config.head_size)


REFUSED = (
  ("alibi", True),
  ("attention_multiplier", 0.0078125),
  ("auto_map", {"AutoModelForCausalLM": "modeling_mine.MyForCausalLM"}),
  ("clip_qkv", 8.0),
  ("embedding_multiplier", 12.0),
  ("layer_norm_eps", 1e-5),
  ("layer_types", ["sliding_attention"] * 32),
  ("logit_scale", 0.0625),
  ("logits_scaling", 8.0),
  ("moe", {"num_experts": 8}),
  ("new_decoder_architecture", True),
  ("num_experts", 8),
  ("num_local_experts", 8),
  ("parallel_attn", True),
  ("partial_rotary_factor", 0.5),
  ("qk_layernorm", True),
  ("qk_norm", True),
  ("quantization", {"bits": 4, "group_size": 64}),
  ("quantization_config", {"quant_method": "gptq"}),
  ("residual_multiplier", 0.22),
  ("rope_interleaved", True),
  ("rotary_pct", 0.25),
  ("scale_emb", 12),
  ("sliding_window", 4096),
  ("use_parallel_residual", True),
)
"""Keys that change what a model computes, at values where they do."""


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_key_that_matters_is_refused_by_name(key, value):
  with pytest.raises(UserError, match="not implemented: ") as caught:
    find_family(_LLAMA_3, "").from_hf(_LLAMA_3 | {key: value})
  assert f"{key}={value!r}" in str(caught.value)
  assert f"model_ignore={key} leaves" in str(caught.value)
  assert "model_ignore" in caught.value.marked


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_user_may_leave_it_out_of_account(key, value):
  family = find_family(_LLAMA_3, "")
  marked = ignoring(_LLAMA_3 | {key: value}, f" {key},")
  assert family.from_hf(marked) == family.from_hf(_LLAMA_3)
  # What is left out is written down, and is read again from a copy.
  copy = json.loads(json.dumps(marked))
  assert copy[IGNORED] == [key]
  assert family.from_hf(copy) == family.from_hf(_LLAMA_3)


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("clip_qkv", 0.0),
    ("logit_scale", 1.0),
    ("partial_rotary_factor", 1.0),
    ("qk_norm", False),
    ("rope_interleaved", False),
    ("rotary_pct", 1.0),
    ("use_sliding_window", False),
  ],
)
def test_a_key_that_is_off_changes_nothing(key, value):
  family = find_family(_LLAMA_3, "")
  assert family.from_hf(_LLAMA_3 | {key: value}) == family.from_hf(_LLAMA_3)


def test_only_keys_of_the_file_can_be_left_out():
  with pytest.raises(UserError, match="has no key 'alibbi'; did you mean 'al"):
    ignoring(_LLAMA_3 | {"alibi": True}, "alibbi")
  with pytest.raises(UserError, match="has no key ''"):
    ignoring(_LLAMA_3, ",")
  assert ignoring(_LLAMA_3, None) is _LLAMA_3


def test_keys_of_an_object_in_the_file_are_not_offered():
  raw = _LLAMA_31 | {
    "rope_scaling": _LLAMA_31["rope_scaling"] | {"beta_fast": 32}
  }
  with pytest.raises(UserError, match=r"implemented: beta_fast=32$"):
    find_family(raw, "").from_hf(raw)


def test_a_list_of_keys_that_is_none_is_refused():
  with pytest.raises(UserError, match=f"{IGNORED}=3 is not a list of keys"):
    find_family(_LLAMA_3, "").from_hf(_LLAMA_3 | {IGNORED: 3})


def test_a_folder_loads_and_saves_with_a_key_left_out(t5_folder, tmp_path):
  file = t5_folder / "config.json"
  file.write_text(
    json.dumps(json.loads(file.read_text()) | {"odd": True}), encoding="utf-8"
  )
  with pytest.raises(UserError, match=r"config.json has options .* odd=True"):
    hf.load(t5_folder)
  model, params = hf.load(t5_folder, ignore="odd")
  file.write_text(
    json.dumps(ignoring(hf.read_config(t5_folder), "odd")), encoding="utf-8"
  )
  hf.save(tmp_path / "out", model, params, source=t5_folder)
  again, _ = hf.load(tmp_path / "out")
  assert hf.shapes_of(again) == hf.shapes_of(model)


@pytest.mark.parametrize("family", ["Llama", "T5"])
def test_a_reward_model_is_no_language_model(family):
  kind = {"model_type": family.lower()}
  raw = {
    **_LLAMA,
    **kind,
    "architectures": [f"{family}ForSequenceClassification"],
  }
  with pytest.raises(UserError) as error:
    find_family(raw, "x").from_hf(raw)
  said = str(error.value)
  assert "is a classifier" in said
  assert "the run that trained it, init" in said
