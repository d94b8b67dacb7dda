"""Registry of architectures, by the `model_type` of config.json."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from offalign.errors import UserError, suggest
from offalign.models.decoder.decoder import Decoder
from offalign.models.hf import decoder_families, t5_family
from offalign.models.hf.weight_layout import Source
from offalign.models.t5.t5 import T5


@dataclasses.dataclass(frozen=True)
class Family:
  """How checkpoints of one `model_type` are read and written.

  Attributes:
    from_hf: converts a parsed config.json to the config of our module.
    weight_map: maps that config to the `Source` of each leaf.
    module: builds the module, called as module(config, rngs=rngs).
    duplicates: maps that config to {copy: original}: tensors that some
      checkpoints hold twice. The original is read, the copy must equal it.
    ignored: patterns of tensors that hold no weights.
    prefix: start of every tensor's name in a checkpoint of the whole model;
      a checkpoint without the head lacks it.
    tied_by_file: True if a missing head tensor means a tied head; False if
      config.json decides.
  """

  from_hf: Callable[[dict[str, Any]], Any]
  weight_map: Callable[[Any], dict[str, Source]]
  module: Callable[..., nnx.Module]
  duplicates: Callable[[Any], Mapping[str, str]]
  ignored: tuple[str, ...] = ()
  prefix: str = ""
  tied_by_file: bool = False


_T5 = Family(
  from_hf=t5_family.from_hf,
  weight_map=t5_family.weight_map,
  module=T5,
  duplicates=t5_family.duplicates,
  ignored=t5_family.IGNORED,
  tied_by_file=True,
)

_DECODERS = {
  name: Family(
    from_hf=decoder_families.from_hf,
    weight_map=decoder_families.weight_map,
    module=Decoder,
    duplicates=decoder_families.duplicates,
    ignored=decoder_families.IGNORED,
    prefix=kind.prefix,
  )
  for name, kind in decoder_families.KINDS.items()
}

FAMILIES: dict[str, Family] = {"t5": _T5, **_DECODERS}


def find_family(config: dict[str, Any], where: str) -> Family:
  """Finds the family of a parsed config.json.

  Args:
    config: the parsed file.
    where: the file's name, for errors.

  Raises:
    UserError: if its `model_type` is not implemented.
  """
  name = config.get("model_type")
  if not isinstance(name, str) or name not in FAMILIES:
    raise UserError(
      f"{where}: model_type={name!r} is not implemented"
      f"{suggest(str(name), FAMILIES)} (there is: "
      f"{', '.join(sorted(FAMILIES))})"
    )
  return FAMILIES[name]
