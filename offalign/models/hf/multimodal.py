"""Text models inside Gemma 3 folders of image models.

`Gemma3ForConditionalGeneration` holds the text model's options under
`text_config` and its weights under `language_model.`. Such a folder is read as
the text model alone, `Gemma3ForCausalLM`, which is also what exports are.
"""

import collections
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_IMAGES = (
  "architectures",
  "boi_token_index",
  "eoi_token_index",
  "image_token_id",
  "image_token_index",
  "mm_tokens_per_image",
  "model_type",
  "text_config",
  "vision_config",
)
"""Keys of the whole that say nothing of its text model."""

_DEFAULTS = {
  "head_dim": 256,
  "hidden_activation": "gelu_pytorch_tanh",
  "hidden_size": 2304,
  "intermediate_size": 9216,
  "num_attention_heads": 8,
  "num_hidden_layers": 26,
  "num_key_value_heads": 4,
  "query_pre_attn_scalar": 256,
  "vocab_size": 262_208,
}
"""Of `Gemma3TextConfig`: published files name what differs alone."""

_TEXT = (
  ("model.language_model.", "model."),
  ("language_model.model.", "model."),
  ("language_model.lm_head.", "lm_head."),
)
_VISION = ("vision_tower", "multi_modal_projector")


def text_config(config: dict[str, Any]) -> dict[str, Any]:
  """Takes the text model's config out of that of a Gemma 3 with images.

  Args:
    config: a parsed config.json.

  Returns:
    A config of `Gemma3ForCausalLM`; any other config as it is.
  """
  own = config.get("text_config")
  if config.get("model_type") != "gemma3" or not isinstance(own, dict):
    return config
  outer = {k: v for k, v in config.items() if k not in _IMAGES}
  return {
    **_DEFAULTS,
    **outer,
    **{k: v for k, v in own.items() if v is not None or k not in outer},
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
  }


def text_tensors(tensors: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
  """Parts the tensors of a Gemma 3 with images.

  Args:
    tensors: by name.

  Returns:
    Those of the text model, by the names that they have on their own, and the
    names of those for images. A tensor of neither kind keeps its name.
  """
  text: dict[str, T] = {}
  images: list[str] = []
  for name, tensor in tensors.items():
    if name.removeprefix("model.").startswith(_VISION):
      images.append(name)
      continue
    for start, own in _TEXT:
      if name.startswith(start):
        name = own + name.removeprefix(start)
        break
    text[name] = tensor
  return text, images


def said(path: Any, images: list[str]) -> str:
  """Says what is read of a folder, and what is left alone.

  Args:
    path: the folder.
    images: from `text_tensors`.
  """
  parts = collections.Counter(
    next(part for part in _VISION if part in name) for name in images
  )
  counts = ", ".join(f"{n} of {part}" for part, n in parts.items())
  return (
    f"{path} is a Gemma 3 for images and text: its text model is read, and "
    f"{len(images)} tensors are left alone ({counts or 'there are none'}); "
    "exports are the text model, Gemma3ForCausalLM"
  )
