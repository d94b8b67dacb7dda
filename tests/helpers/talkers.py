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
  "max_position_embeddings": 64,
  "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0,
  "tie_word_embeddings": False,
  "torch_dtype": "float32",
}


def write(folder):
  """Writes it; returns the folder."""
  chat_cases.write(folder, chat_cases.LLAMA)
  model = hf.describe(LLAMA, spec="llama", tied=False)
  params = jax.jit(model.init)(jax.random.key(0))
  # Far from uniform, so that temperatures and seeds differ in what they draw.
  params = jax.tree.map(lambda x: 3 * x, params)
  hf.write(folder, LLAMA, model, params)
  return folder
