"""The results of a part: a JSON file, and a page for people."""

import importlib.metadata
import pathlib
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from benchmarks.gpu import devices
from offalign.files import write_atomically, write_json
from offalign.leaderboard.provenance import environment, revision

_PACKAGES = ("jaxlib", "jax-cuda13-plugin", "orbax-checkpoint", "torch")
_PEERS = ("transformers", "trl", "liger-kernel")


class Page:
  """Collects the results of a part, and writes them after each one.

  So a part that is cut off leaves what it had measured.

  Attributes:
    failed: whether a check failed.
  """

  def __init__(self, part: str, command: str, out: pathlib.Path):
    """Begins; writes nothing.

    Args:
      part: its name.
      command: what was run.
      out: folder of PART.json and PART.md.
    """
    self.failed = False
    self._part, self._out, self._began = part, out, time.monotonic()
    self._blocks: list[str] = []
    self._results: dict[str, Any] = {}
    self._facts = {
      "command": command,
      "date": time.strftime("%Y-%m-%d"),
      "revision": revision(),
      "python": platform.python_version(),
    }

  def add(self, name: str, result: Any, text: str) -> None:
    """Adds a result and what the page says of it; prints the latter."""
    self._results[name] = result
    self.say(text)

  def say(self, text: str) -> None:
    """Adds a paragraph or a table to the page; prints it."""
    self._blocks.append(text)
    print(f"{text}\n", flush=True)
    self.write()

  def write(self) -> None:
    """Writes both files."""
    self._out.mkdir(parents=True, exist_ok=True)
    facts = self._facts | _device() | _versions()
    facts["seconds"] = f"{time.monotonic() - self._began:.0f}"
    head = "".join(f"* {name}: {value}\n" for name, value in facts.items())
    text = "\n\n".join([f"# GPU: {self._part}", head.strip(), *self._blocks])
    write_atomically(self._out / f"{self._part}.md", text + "\n")
    write_json(
      self._out / f"{self._part}.json",
      {"facts": facts, "failed": self.failed, "results": self._results},
    )


def _device() -> dict[str, str]:
  device = jax.devices()[0]
  held = devices.memory()
  memory = f", {held['limit']:.1f} GB for jax" if "limit" in held else ""
  return {"device": f"{device.device_kind} ({device.platform}){memory}"}


def _versions() -> dict[str, str]:
  found = dict(environment())
  del found["python"]
  for package in (*_PACKAGES, *_PEERS):
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table; the first column to the left, the others to the right."""
  rule = [":---", *["---:"] * (len(head) - 1)]
  return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def shares(kinds: Mapping[str, float]) -> str:
  """Where the time goes, in one line."""
  return ", ".join(
    f"{kind} {share:.0%}" for kind, share in kinds.items() if share >= 0.005
  )


def verdict(found: float, goal: float | None, what: str) -> str:
  """Whether a goal of at least so much is met."""
  if goal is None:
    return ""
  word = "met" if found >= goal else "missed"
  return f"The goal of {goal:g} {what} is {word}: {found:.2f}."
