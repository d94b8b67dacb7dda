"""The architectures there are, by the `model_type` of config.json."""

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
  """What there is to know about checkpoints of a `model_type`.

  Attributes:
    from_hf: a parsed config.json -> the config of our module.
    weight_map: that config -> where each leaf lies.
    module: (config, rngs=) -> the module.
    duplicates: that config -> tensors that some checkpoints hold twice, each
      with the tensor that is read in its place; they must be equal.
    ignored: patterns of tensors that stand for no weight.
    prefix: what the names begin with in checkpoints of the whole model, and
      not in those of the model without its head.
    tied_by_file: whether a head is tied because the checkpoint has none,
      rather than because config.json says so.
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
  """The family of a parsed config.json.

  Raises:
    UserError: naming the `model_type`, where there is none for it.
  """
  name = config.get("model_type")
  if not isinstance(name, str) or name not in FAMILIES:
    raise UserError(
      f"{where}: model_type={name!r} is not implemented"
      f"{suggest(str(name), FAMILIES)} (there is: "
      f"{', '.join(sorted(FAMILIES))})"
    )
  return FAMILIES[name]
