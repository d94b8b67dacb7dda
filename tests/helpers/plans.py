"""What the tests of plans share."""

from offalign.planning.shapes import SHAPES

TINY = SHAPES["meta-llama/Meta-Llama-3-8B"] | {
  "vocab_size": 96,
  "hidden_size": 32,
  "intermediate_size": 64,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 4,
}
"""A config.json."""
