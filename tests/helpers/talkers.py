"""A model folder that one can talk with: a tiny Llama with a chat template."""

import chat_cases
import jax

from offalign.models import hf

LLAMA = {
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 420,
  "hidden_act": "silu",
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "num_key_value_heads": 1,
  "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0,
  "tie_word_embeddings": False,
  "torch_dtype": "float32",
}


def write(folder, scale=1, **config):
  """Writes it; returns the folder.

  Args:
    folder: a new one.
    scale: what the weights are multiplied by.
    config: more keys of config.json.
  """
  chat_cases.write(folder, chat_cases.LLAMA)
  config = LLAMA | config
  model = hf.describe(config, spec="llama", tied=False)
  params = jax.jit(model.init)(jax.random.key(0))
  hf.write(folder, config, model, jax.tree.map(lambda x: scale * x, params))
  return folder


def write_lively(folder):
  """One of 64 positions, whose temperatures and seeds draw other tokens."""
  return write(folder, scale=3, max_position_embeddings=64)
