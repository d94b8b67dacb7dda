"""Shapes that the parts run: published ones, and tiny ones for a CPU."""

import dataclasses
import pathlib
from typing import Any

from benchmarks.gpu.flops import Tokens
from offalign.errors import UserError
from offalign.models.base import Remat
from offalign.models.hf.folder import read_config
from offalign.planning.shapes import SHAPES

DECODER = "Qwen/Qwen2.5-0.5B"
"""Name of the decoder of half a billion parameters."""
QWEN: dict[str, Any] = SHAPES["Qwen/Qwen2.5-7B"] | {
  "vocab_size": 151_936,
  "hidden_size": 896,
  "intermediate_size": 4864,
  "num_hidden_layers": 24,
  "num_attention_heads": 14,
  "num_key_value_heads": 2,
  "max_position_embeddings": 32_768,
  "max_window_layers": 24,
  "tie_word_embeddings": True,
}
TINY: dict[str, Any] = QWEN | {
  "vocab_size": 128,
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "num_key_value_heads": 1,
  "max_position_embeddings": 512,
  "max_window_layers": 1,
}
TINY_T5: dict[str, Any] = SHAPES["google/flan-t5-base"] | {
  "vocab_size": 128,
  "d_model": 32,
  "d_kv": 16,
  "d_ff": 48,
  "num_layers": 1,
  "num_decoder_layers": 1,
  "num_heads": 2,
}


@dataclasses.dataclass(frozen=True)
class Way:
  """How a step saves memory.

  Attributes:
    remat: see `Remat`.
    microbatches: pieces of the batch.
  """

  remat: Remat
  microbatches: int = 1

  def __str__(self) -> str:
    pieces = f", {self.microbatches} microbatches"
    return f"remat {self.remat}{pieces if self.microbatches > 1 else ''}"


@dataclasses.dataclass(frozen=True)
class Task:
  """A step to time.

  Attributes:
    name: in the table.
    loss: by spec.
    config: the config.json of the model.
    tokens: of the batch.
    ways: to try one after the other until one fits in memory.
    optimizer: "adam" or "adafactor".
    goal: steps a second, or None.
    said: what the goal is measured by.
    weights: a model folder; None for random weights.
  """

  name: str
  loss: str
  config: dict[str, Any]
  tokens: Tokens
  ways: tuple[Way, ...]
  optimizer: str
  goal: float | None = None
  said: str = ""
  weights: str | None = None

  def of(self, folder: str | None) -> "Task":
    """The same step on a model folder, with its shape; None changes nothing.

    Raises:
      UserError: for a folder without a config.json, or of another family.
    """
    if folder is None:
      return self
    config = read_config(pathlib.Path(folder))
    if (config["model_type"] == "t5") != (self.config["model_type"] == "t5"):
      raise UserError(
        f"--weights={folder} is a {config['model_type']}, and this part runs "
        f"a {self.config['model_type']}"
      )
    name = pathlib.Path(folder).name
    return dataclasses.replace(self, name=name, config=config, weights=folder)


_PAPER = Tokens(32, 1, 512, 256)  # arXiv:2405.19107
_SMALL = Tokens(2, 1, 8, 4)


def t5(tiny: bool) -> tuple[Task, ...]:
  """DRO-V on the T5s of the paper."""
  if tiny:
    ways = (Way("none"),)
    return (Task("tiny T5", "dro_v", TINY_T5, _SMALL, ways, "adafactor"),)
  return (
    Task(
      "T5-large",
      "dro_v",
      SHAPES["google/flan-t5-large"],
      _PAPER,
      (Way("dots"), Way("block"), Way("block", 4)),
      "adafactor",
      2.0,
      "the paper reports .5 on 16 v5e chips",
    ),
    Task(
      "T5-XL",
      "dro_v",
      SHAPES["google/flan-t5-xl"],
      _PAPER,
      (Way("block", 2), Way("block", 4), Way("block", 8)),
      "adafactor",
      0.5,
      "the paper reports .1 on 32 v5e chips",
    ),
  )


def dpo(tiny: bool) -> tuple[Task, ...]:
  """DPO on the decoder."""
  if tiny:
    tokens = dataclasses.replace(_SMALL, per_prompt=2)
    return (Task("tiny", "dpo", TINY, tokens, (Way("none"),), "adam"),)
  ways = (Way("none"), Way("dots"), Way("block"), Way("block", 4))
  tokens = Tokens(8, 2, 512, 256)
  return (Task(DECODER, "dpo(beta=0.1)", QWEN, tokens, ways, "adam"),)


def lengths(tiny: bool) -> tuple[int, ...]:
  """Tokens of prompt and completion together, for attention."""
  return (64,) if tiny else (4096, 8192, 32_768)
