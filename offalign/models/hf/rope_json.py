"""Read RoPE options from config.json, of transformers 4 and 5.

Version 4 has rope_theta and rope_scaling (and Gemma 3 rope_local_base_freq);
version 5 has one rope_parameters, for Gemma 3 one for each kind of layer.
"""

from collections.abc import Mapping
from typing import Any

from offalign.models.hf.config_json import ConfigJson
from offalign.models.positions import Rope

_THETA = 10_000.0
_TYPES = ("default", "linear", "llama3")


def read_rope(read: ConfigJson) -> Rope:
  """Reads the one RoPE of all layers.

  Raises:
    UserError: names a type or an option that is not implemented.
  """
  theta = read.number("rope_theta", None)
  scaling = read.take("rope_scaling", None)
  given = _both(read, scaling)
  if given is None:
    return _rope(read, "rope_scaling", scaling or {}, theta or _THETA)
  if theta is not None and given.get("rope_theta", theta) != theta:
    read.refuse("rope_theta", theta, "is not that of rope_parameters")
  return _rope(read, "rope_parameters", given, theta or _THETA)


def read_gemma3_ropes(read: ConfigJson) -> tuple[Rope, Rope]:
  """Reads the RoPE of full and of sliding layers of a Gemma 3.

  Raises:
    UserError: names a type or an option that is not implemented.
  """
  full = read.number("rope_theta", 1_000_000.0)
  sliding = read.number("rope_local_base_freq", _THETA)
  scaling = read.take("rope_scaling", None)
  given = _both(read, scaling)
  if given is None:
    return (
      _rope(read, "rope_scaling", scaling or {}, full),
      Rope(theta=float(sliding)),
    )
  kinds = {"full_attention": full, "sliding_attention": sliding}
  if not given.keys() <= kinds.keys():
    read.refuse(
      "rope_parameters", given, f"is to have {' and '.join(kinds)} alone"
    )
  ropes = [
    _rope(read, f"rope_parameters.{kind}", given.get(kind) or {}, theta)
    for kind, theta in kinds.items()
  ]
  return ropes[0], ropes[1]


def _both(read: ConfigJson, scaling: Any) -> Mapping[str, Any] | None:
  """Reads rope_parameters; refuses a rope_scaling beside it."""
  given = read.take("rope_parameters", None)
  if given is not None and scaling is not None:
    read.refuse("rope_scaling", scaling, "is said again in rope_parameters")
  return given


def _rope(
  read: ConfigJson, key: str, given: Mapping[str, Any], theta: float
) -> Rope:
  """Reads one dict of parameters; `theta` is the default of its theta."""
  if not isinstance(given, Mapping):
    read.refuse(key, given, "is not a set of parameters")
  inner = ConfigJson(given, f"{read.where}: {key}")
  kind = inner.take("rope_type", inner.take("type", "default"))
  inner.only("type", kind)
  if kind not in _TYPES:
    inner.refuse(
      "rope_type", kind, f"is not implemented, only {', '.join(_TYPES)} are"
    )
  inner.only("partial_rotary_factor", 1.0)
  theta = float(inner.number("rope_theta", theta))
  factor, smooth = 1.0, None
  if kind != "default":
    factor = float(inner.number("factor"))
  if kind == "llama3":
    low, high, length = (
      float(inner.number(name))
      for name in (
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
      )
    )
    if not low < high:
      inner.refuse("low_freq_factor", low, f"is not below {high}")
    smooth = low, high, length
  inner.finish()
  return Rope(theta, factor, smooth)
