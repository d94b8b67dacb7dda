"""FLOPs that a model needs for a batch, nothing recomputed."""

import dataclasses
import math
from typing import Any

import jax

from offalign.models.base import Model
from offalign.models.hf.checkpoint import shapes_of


@dataclasses.dataclass(frozen=True)
class Tokens:
  """The shape of a batch.

  Attributes:
    prompts: B.
    per_prompt: K.
    prompt: P, tokens of every prompt.
    completion: T, tokens of every completion.
  """

  prompts: int
  per_prompt: int
  prompt: int
  completion: int

  @property
  def rows(self) -> int:
    """B x K."""
    return self.prompts * self.per_prompt

  @property
  def processed(self) -> int:
    """Tokens of every completion with its prompt, as most trainers run it."""
    return self.rows * (self.prompt + self.completion)

  def __str__(self) -> str:
    return (
      f"{self.prompts} prompts x {self.per_prompt} completions, "
      f"{self.prompt} + {self.completion} tokens"
    )


def of_step(
  model: Model, config: dict[str, Any], tokens: Tokens, *, value: bool
) -> float:
  """FLOPs of a train step: three times those of the forward pass.

  The prompt counts once for its completions, and the unembedding for
  completion tokens alone. Attention counts the scores that are not masked.

  Args:
    model: the policy's.
    config: its config.json.
    tokens: of the batch.
    value: whether a value network reads the prompts (and one position more).
  """
  sizes = _sizes(model)
  b, rows = tokens.prompts, tokens.rows
  read, written = b * tokens.prompt, rows * tokens.completion
  head = model.width * model.vocab_size
  if config["model_type"] == "t5":
    d = config["num_heads"] * config["d_kv"]
    n = config["num_decoder_layers"]
    cross = {k: v for k, v in sizes.items() if "/cross/" in k}
    sources = sum(v for k, v in cross.items() if "key" in k or "value" in k)
    encoder = sum(v for k, v in sizes.items() if k.startswith("encoder"))
    decoder = sum(v for k, v in sizes.items() if k.startswith("decoder"))
    decoder -= sources
    asked = config["num_layers"] * d * b * tokens.prompt**2
    seen = tokens.completion**2 / 2 + tokens.completion * tokens.prompt
    products = read * (encoder + sources) + written * (decoder + head)
    scores = asked + n * d * rows * seen
    if value:
      products += read * (encoder + sources) + b * decoder
      scores += asked + n * d * b * tokens.prompt
    return 6.0 * (products + 2 * scores)
  block = sum(v for k, v in sizes.items() if k.startswith("layers"))
  heads = config["num_attention_heads"]
  size = config.get("head_dim") or config["hidden_size"] // heads
  width = config["num_hidden_layers"] * heads * size
  seen = b * tokens.prompt**2 / 2
  seen += rows * (tokens.completion**2 / 2 + tokens.completion * tokens.prompt)
  products = (read + written) * block + written * head
  if value:
    products += read * block
    seen += b * tokens.prompt**2 / 2
  return 6.0 * (products + 2 * width * seen)


def parameters(model: Model) -> int:
  """Counts a model's parameters."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes_of(model)))


def _sizes(model: Model) -> dict[str, int]:
  """Path -> size, of the matrices of all layers."""
  found, _ = jax.tree_util.tree_flatten_with_path(shapes_of(model))
  named = (
    (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
    for path, leaf in found
  )
  return {
    path: math.prod(leaf.shape)
    for path, leaf in named
    if "layers" in path and leaf.ndim == 3
  }
