"""What XLA is told in tests, in this process and in children of it."""

import importlib.metadata
import os

_MINOR = tuple(
  int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2]
)

# To compile takes nine tenths of the tests' time, half of it in fusions that
# XLA emits by MLIR. Newer releases end the process at a flag they do not know.
QUICK = "--xla_cpu_use_fusion_emitters=false" if _MINOR < (0, 11) else ""


def devices(count: int) -> str:
  """XLA_FLAGS for so many virtual devices."""
  return f"--xla_force_host_platform_device_count={count} {QUICK}".strip()


def environment(count: int = 1) -> dict[str, str]:
  """This process's environment, for a child with so many devices."""
  return os.environ | {"XLA_FLAGS": devices(count)}
