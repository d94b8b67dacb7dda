"""Load and save Hugging Face model folders: config.json and safetensors."""

from offalign.models.hf.checkpoint import (
  MAX_SHARD_SIZE,
  describe,
  load,
  save,
  shapes_of,
  sources_of,
  write,
)
from offalign.models.hf.folder import read_config

__all__ = [
  "MAX_SHARD_SIZE",
  "describe",
  "load",
  "read_config",
  "save",
  "shapes_of",
  "sources_of",
  "write",
]
