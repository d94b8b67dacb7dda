"""T5, an encoder-decoder (arXiv:1910.10683)."""

from offalign.models.t5.config import T5Config
from offalign.models.t5.t5 import T5

__all__ = ["T5", "T5Config"]
