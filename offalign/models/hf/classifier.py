"""Write a reward model as the classifier of one label of `transformers`.

`...ForSequenceClassification` reads the state at the last token that is not
padding, and maps it to a score by `score.weight`, [1, d], without a bias.
"""

from pathlib import Path
from typing import Any

import numpy as np

from offalign.errors import UserError
from offalign.models.base import Model
from offalign.models.hf import checkpoint as hf
from offalign.models.hf.check_tensors import expected_shapes
from offalign.models.hf.weight_layout import Source
from offalign.models.hf.write_tensors import MAX_SHARD_SIZE, write_tensors
from offalign.types import Params

CLASSES = {
  "arcee": "ArceeForSequenceClassification",
  "gemma": "GemmaForSequenceClassification",
  "gemma2": "Gemma2ForSequenceClassification",
  "gemma3_text": "Gemma3TextForSequenceClassification",
  "gpt2": "GPT2ForSequenceClassification",
  "llama": "LlamaForSequenceClassification",
  "mistral": "MistralForSequenceClassification",
  "olmo2": "Olmo2ForSequenceClassification",
  "phi3": "Phi3ForSequenceClassification",
  "qwen2": "Qwen2ForSequenceClassification",
  "qwen3": "Qwen3ForSequenceClassification",
  "qwen3_moe": "Qwen3MoeForSequenceClassification",
  "smollm3": "SmolLM3ForSequenceClassification",
}
"""`model_type` -> its classifier. T5's has an MLP of its own as the head."""

SCORE = "score"
"""The head's module, in each of these classes."""


def class_of(config: dict[str, Any]) -> str:
  """The classifier of a parsed config.json's family.

  Raises:
    UserError: where `transformers` has none with one linear map as the head.
  """
  family = config.get("model_type")
  if family not in CLASSES:
    raise UserError(
      f"transformers has no classifier of {family!r} whose head is one linear "
      f"map (there is of: {', '.join(sorted(CLASSES))})"
    )
  return CLASSES[str(family)]


def write(
  folder: Path,
  config: dict[str, Any],
  model: Model,
  trunk: Params,
  kernel: np.ndarray,
  *,
  dtype: str = "float32",
  max_shard_size: int = MAX_SHARD_SIZE,
) -> None:
  """Writes weights and config.json into an existing folder.

  Args:
    folder: an existing folder.
    config: the parsed config.json of the language model.
    model: the language model.
    trunk: its params; a head of its own for tokens is left out.
    kernel: the head of the rewards, [d].
    dtype: dtype of the tensors.
    max_shard_size: size in bytes above which weights go to several files.

  Raises:
    UserError: see `class_of`.
  """
  name = class_of(config)
  tied = "head" not in hf.shapes_of(model)
  sources = {
    path: source
    for path, source in hf.sources_of(config, tied=tied).items()
    if not path.startswith("head/")
  }
  sources[f"{SCORE}/kernel"] = Source((f"{SCORE}.weight",))
  params = {k: v for k, v in trunk.items() if k != "head"}
  params[SCORE] = {"kernel": np.asarray(kernel)[None]}
  write_tensors(
    folder,
    params,
    sources,
    expected_shapes(sources, params),
    hf.SPELLED[dtype],
    max_shard_size,
  )
  labels = {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
  hf.write_config(
    folder, config | {"architectures": [name], "num_labels": 1, **labels}, dtype
  )
