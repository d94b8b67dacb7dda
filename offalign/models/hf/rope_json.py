"""Read RoPE options from config.json, of transformers 4 and 5.

Version 4 has rope_theta and rope_scaling (and Gemma 3 rope_local_base_freq);
version 5 has one rope_parameters, for Gemma 3 one for each kind of layer.
"""

import math
from collections.abc import Mapping
from typing import Any

from offalign.models.hf.config_json import ConfigJson
from offalign.models.positions import Rope, Yarn

_THETA = 10_000.0
_TYPES = ("default", "linear", "llama3", "yarn")


def read_rope(
  read: ConfigJson,
  default: float = _THETA,
  *,
  types: tuple[str, ...] = _TYPES,
  partial: bool = False,
) -> Rope:
  """Reads the one RoPE of all layers.

  Args:
    read: the file.
    default: theta where the file does not say.
    types: kinds of RoPE that the family has.
    partial: whether the family may turn a part of a head's coordinates
      alone.

  Raises:
    UserError: names a type or an option that is not implemented.
  """
  theta = read.number("rope_theta", None)
  share = read.number("partial_rotary_factor", 1.0) if partial else None
  scaling = read.take("rope_scaling", None)
  given = _both(read, scaling)
  if given is None:
    return _rope(
      read, "rope_scaling", scaling or {}, theta or default, types, share
    )
  if theta is not None and given.get("rope_theta", theta) != theta:
    read.refuse("rope_theta", theta, "is not that of rope_parameters")
  return _rope(read, "rope_parameters", given, theta or default, types, share)


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
  read: ConfigJson,
  key: str,
  given: Mapping[str, Any],
  theta: float,
  types: tuple[str, ...] = _TYPES,
  share: float | None = None,
) -> Rope:
  """Reads one dict of parameters.

  Args:
    read: the file.
    key: where the dict is.
    given: the dict.
    theta: the default of its theta.
    types: kinds that are implemented.
    share: the default of its partial_rotary_factor; None where only 1 is.
  """
  if not isinstance(given, Mapping):
    read.refuse(key, given, "is not a set of parameters")
  inner = ConfigJson(given, f"{read.where}: {key}", nested=True)
  kind = inner.take("rope_type", inner.take("type", "default"))
  inner.only("type", kind)
  if kind not in types:
    inner.refuse(
      "rope_type", kind, f"is not implemented, only {', '.join(types)} are"
    )
  if share is None:
    inner.only("partial_rotary_factor", 1.0)
    share = 1.0
  else:
    share = float(inner.number("partial_rotary_factor", share))
    if share > 1:
      inner.refuse("partial_rotary_factor", share, "is above 1")
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
  yarn, gain = None, 1.0
  if kind == "yarn":
    yarn, gain = _yarn(read, inner, factor)
  inner.finish()
  return Rope(theta, factor, smooth, yarn, share, gain)


def _yarn(
  read: ConfigJson, inner: ConfigJson, factor: float
) -> tuple[Yarn, float]:
  """Reads YaRN, and the factor of the coordinates that turn."""
  length = inner.number("original_max_position_embeddings", None)
  if length is None:
    length = read.number("max_position_embeddings")
  gain = inner.number("attention_factor", None)
  scales = [inner.number(name, None) for name in ("mscale", "mscale_all_dim")]
  if gain is None:
    above, below = (
      1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1
      for scale in (scales if all(scales) else (1.0, 0.0))
    )
    gain = above / below
  yarn = Yarn(
    fast=float(inner.number("beta_fast", 32)),
    slow=float(inner.number("beta_slow", 1)),
    length=float(length),
    truncate=inner.flag("truncate", True),
  )
  return yarn, float(gain)
