"""Losses: short pure functions that declare what they need.

`get("dro_v")` returns a loss object, `names()` lists them, `register` adds
one.
"""

from offalign.losses import (
  dro,
  gpo,
  ipo,
  kto,
  orpo,
  rebel,
  sft,
  simpo,
)
from offalign.losses.base import Definition, Loss
from offalign.losses.registry import definition, get, names, register

__all__ = [
  "Definition",
  "Loss",
  "definition",
  "dro",
  "get",
  "gpo",
  "ipo",
  "kto",
  "names",
  "orpo",
  "rebel",
  "register",
  "sft",
  "simpo",
]
