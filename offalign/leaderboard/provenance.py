"""Provenance and cost of a run: versions, git revision, stopwatch."""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

import offalign

_PACKAGES = ("jax", "flax", "optax")


def environment(device: str = "") -> dict[str, str]:
  """Returns the versions and the platform for `Row.versions`.

  Nothing here imports jax.

  Args:
    device: the accelerator's name, such as `jax.devices()[0].device_kind`;
      the CPU count alone says little about a run on another device.

  Returns:
    python, jax, flax, optax, offalign and platform; a package that is not
    installed reads "absent".
  """
  versions = {"python": platform.python_version()}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = "absent"
  versions["offalign"] = offalign.__version__
  place = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
  versions["platform"] = f"{place}, {device}" if device else place
  return versions


def revision() -> str:
  """Returns the git revision of the installed sources.

  Returns:
    Twelve hex digits, followed by "-dirty" where tracked files differ from
    them; "unknown" outside a checkout. A package installed inside another
    project's checkout is not tracked there, so it reads "unknown" too.
  """
  package = pathlib.Path(offalign.__file__).parent
  tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
  if tracked is None:
    return "unknown"
  options = ("--always", "--dirty", "--abbrev=12", "--exclude=*")
  return _git(package, "describe", *options) or "unknown"


def _git(folder: pathlib.Path, *command: str) -> str | None:
  try:
    done = subprocess.run(
      ["git", "-C", os.fspath(folder), *command],
      capture_output=True,
      text=True,
      check=True,
      timeout=30,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()


class Stopwatch:
  """Measures one run.

  Example:
    with Stopwatch() as watch:
      train()
    Row(seconds=watch.seconds, peak_memory_mb=watch.peak_memory_mb, ...)

  Attributes:
    seconds: `wall`, and `cpu` summed over this process's threads (children
      excluded). Call `jax.block_until_ready` inside the block, or the time
      is that of queueing the work.
    peak_memory_mb: the process's resident high-water mark since it started,
      MiB. It never falls, so of several runs in one process a later one also
      shows the earlier ones' peak; device memory is not in it. NaN where the
      platform has no `resource` module.
  """

  def __init__(self) -> None:
    self.seconds = {"wall": 0.0, "cpu": 0.0}
    self.peak_memory_mb = 0.0
    self._since = self._now()

  def __enter__(self) -> "Stopwatch":
    self._since = self._now()
    return self

  def __exit__(self, *details: Any) -> None:
    self.lap()

  def lap(self) -> None:
    """Brings the attributes up to date, between entering and leaving.

    Entered again, the watch goes on from where it was left.
    """
    before, self._since = self._since, self._now()
    for name, now in self._since.items():
      self.seconds[name] += now - before[name]
    self.peak_memory_mb = peak_memory_mb()

  def _now(self) -> dict[str, float]:
    return {"wall": time.perf_counter(), "cpu": time.process_time()}


def peak_memory_mb() -> float:
  """The most memory that this process has held, in MiB; NaN if none can say.

  Linux's count for `getrusage` begins with what the parent process held when
  it started this one, so its other count is read there.
  """
  with contextlib.suppress(OSError, StopIteration):
    with open("/proc/self/status", encoding="utf-8") as status:
      line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10
  try:
    import resource
  except ImportError:
    return float("nan")
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
  return peak * unit / 2**20
