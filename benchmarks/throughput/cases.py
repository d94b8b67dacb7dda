"""What is run: losses, models and batches, the same for every contender."""

import dataclasses
from typing import Any

VOCAB = 32_000
PUBLISHED_MODEL = "SmolLM2"


def _llama(hidden: int, layers: int, mlp: int) -> dict[str, Any]:
  return {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": hidden,
    "intermediate_size": mlp,
    "num_hidden_layers": layers,
    "num_attention_heads": hidden // 64,
    "num_key_value_heads": hidden // 64,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
  }


MODELS: dict[str, dict[str, Any]] = {
  "tiny": _llama(64, 1, 128),
  "10M": _llama(256, 3, 704),
  "60M": _llama(640, 8, 1728),
  # SmolLM2-135M-Instruct as its config.json has it.
  PUBLISHED_MODEL: {
    **_llama(576, 30, 1536),
    "vocab_size": 49_152,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100_000.0,
    "pad_token_id": 2,
  },
  "T5 60M": {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 32_128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": 6,
    "num_heads": 8,
    "feed_forward_proj": "relu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "tie_word_embeddings": True,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
  },
}
"""Name -> config.json. Random weights; T5's is the shape of `t5-small`. The
published model's weights are read from a folder.
No case has "tiny": it is for trying a worker out."""


@dataclasses.dataclass(frozen=True)
class Case:
  """One row of the table.

  Attributes:
    loss: "dpo", "kto" or "dro_v".
    model: of `MODELS`.
    prompts: B.
    per_prompt: K.
    prompt: tokens of every prompt.
    completion: tokens of every completion.
    weights: folder of the published model; "" for random weights.
  """

  loss: str
  model: str
  prompts: int
  per_prompt: int
  prompt: int
  completion: int
  weights: str = ""

  @property
  def published(self) -> bool:
    """Whether the weights are of a published model."""
    return self.model == PUBLISHED_MODEL

  @property
  def name(self) -> str:
    """Identifies the case, e.g. "dpo 10M 64+64" or "kto SmolLM2 9+25 K=1"."""
    name = f"{self.loss} {self.model} {self.prompt}+{self.completion}"
    return f"{name} K={self.per_prompt}" if self.published else name

  @property
  def tokens(self) -> int:
    """Of a step: every completion with its prompt, as most trainers run it."""
    return self.prompts * self.per_prompt * (self.prompt + self.completion)

  @property
  def flops(self) -> float:
    """Of a step's matrix products, when nothing is done twice.

    The prompt once for its completions, the unembedding on completion tokens
    alone, forward and backward (three products for each weight), and what
    the loss defines beyond: KTO's mismatched pairs under the policy, without
    gradient; DRO-V's value network, which reads the prompt.
    Attention's products with the sequence are left out (a few percent).
    """
    config = MODELS[self.model]
    rows = self.prompts * self.per_prompt
    if config["model_type"] == "t5":
      d, f, n = config["d_model"], config["d_ff"], config["num_layers"]
      encoder, decoder = (
        n * (4 * d * d + 2 * d * f),
        n * (6 * d * d + 2 * d * f),
      )
      cross = n * 2 * d * d
      read = self.prompts * self.prompt * (encoder + cross)
      written = rows * self.completion * (decoder + d * config["vocab_size"])
      value = self.prompts * (self.prompt * (encoder + cross) + decoder)
      return 6.0 * (read + written + value)
    d, f = config["hidden_size"], config["intermediate_size"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    block = config["num_hidden_layers"] * (2 * d * (d + kv) + 3 * d * f)
    head = rows * self.completion * d * config["vocab_size"]
    read = (self.prompts * self.prompt + rows * self.completion) * block
    mismatched = 2.0 * (read + head) if self.loss == "kto" else 0.0
    value = 0.0
    if self.loss == "dro_v":
      value = 6.0 * self.prompts * self.prompt * block
    return 6.0 * (read + head) + mismatched + value


CASES = (
  *(
    Case("dpo", model, 8, 2, prompt, 64)
    for model in ("10M", "60M")
    for prompt in (64, 256)
  ),
  *(
    Case("kto", model, 16, 1, prompt, 64)
    for model in ("10M", "60M")
    for prompt in (64, 256)
  ),
  Case("dro_v", "T5 60M", 8, 1, 128, 64),
)
"""With random weights."""

PUBLISHED = tuple(
  Case(loss, PUBLISHED_MODEL, rows // k, k, prompt, completion)
  for rows, prompt, completion in ((8, 9, 25), (4, 64, 64))
  for loss, ks in (("dpo", (2,)), ("kto", (1, 2)), ("dro_v", (1, 2)))
  for k in ks
)
"""With published weights; as many completions at K = 1 as at K = 2. A pair of
DPO is two completions of a prompt, so it has no K = 1."""
