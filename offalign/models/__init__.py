"""Models by spec string: `make("t5(width=128)", vocab_size=4096)`.

`names()` lists them, `register` adds one.
"""

from offalign.models.base import Hidden, HiddenFn, Model
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder
from offalign.models.registry import configure, make, names, register
from offalign.models.t5.config import T5Config
from offalign.models.t5.t5 import T5

register("decoder", DecoderConfig, Decoder)
register("t5", T5Config, T5)

__all__ = [
  "Hidden",
  "HiddenFn",
  "Model",
  "configure",
  "make",
  "names",
  "register",
]
