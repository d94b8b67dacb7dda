"""Published rates of accelerators, by the name that jax gives a device."""

import dataclasses
import re
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Rates:
  """What a device does at most, as its maker publishes it.

  Attributes:
    flops: FLOP/s of products of dense bfloat16 matrices.
    bytes: bytes/s between its memory and its cores.
  """

  flops: float
  bytes: float


# Data sheets at nvidia.com and cloud.google.com/tpu/docs, without sparsity.
_RATES = (
  (r"H100.*PCIe", Rates(756e12, 2.0e12)),
  (r"H100.*NVL", Rates(835e12, 3.9e12)),
  (r"H100", Rates(989e12, 3.35e12)),
  (r"GH200|H200", Rates(989e12, 4.8e12)),
  (r"B200", Rates(2250e12, 8.0e12)),
  (r"A100.*80", Rates(312e12, 2.04e12)),
  (r"A100", Rates(312e12, 1.56e12)),
  (r"L40S", Rates(362e12, 0.86e12)),
  (r"\bL4\b", Rates(121e12, 0.3e12)),
  (r"\bA10G?\b", Rates(125e12, 0.6e12)),
  (r"TPU v4", Rates(275e12, 1.23e12)),
  (r"TPU v5 ?(lite|e)", Rates(197e12, 0.82e12)),
  (r"TPU v5", Rates(459e12, 2.77e12)),
  (r"TPU v6", Rates(918e12, 1.64e12)),
)


def rates(name: str) -> Rates | None:
  """The rates of a device; None for one that is not in the table.

  >>> rates("NVIDIA H100 80GB HBM3").flops, rates("cpu")
  (989000000000000.0, None)
  """
  for pattern, found in _RATES:
    if re.search(pattern, name):
      return found
  return None


def mfu(flops: float, seconds: float, name: str) -> float | None:
  """Model FLOPs utilisation: of the peak rate, the share that was reached.

  Args:
    flops: that the model needs, nothing recomputed.
    seconds: that it took.
    name: of the device.
  """
  found = rates(name)
  return None if found is None else flops / seconds / found.flops


def unknown(name: str) -> str:
  """What to say where a device has no rates here."""
  return (
    f"The peak rate of {name!r} is not in benchmarks/gpu/devices.py: there is "
    "no MFU."
  )


def memory() -> dict[str, float]:
  """GB that the device can hold and has held at most; {} where it is silent.

  The most is of the whole process.
  """
  found: dict[str, Any] = jax.devices()[0].memory_stats() or {}
  names = {"peak_bytes_in_use": "peak", "bytes_limit": "limit"}
  return {name: found[key] / 1e9 for key, name in names.items() if key in found}
