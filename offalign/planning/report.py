"""Print a plan: tables, a verdict, a ranking of meshes, JSON."""

import dataclasses
from typing import Any

from offalign.planning.analysis import Figures
from offalign.planning.chips import Slice

_PARTS = {
  "parameters": "parameters",
  "frozen": "frozen weights",
  "optimizer": "optimiser state",
  "batch": "batch",
  "kept": "activations kept for the backward pass",
  "temporaries": "other temporaries (gradients among them)",
  "program": "program, new results, padding",
}

_BY = {
  "compute": "matrix products",
  "memory": "the chip's memory",
  "network": "the links between chips",
}


def text(figures: Figures, place: Slice) -> str:
  """Formats a whole plan; sizes are per device."""
  unit = "chip" if place.per_chip == 1 else "device (half a chip)"
  memory, bound = figures.memory, figures.bound
  total = memory.total
  lines = [f"fits: {verdict(figures)}", f"\nmemory of a {unit}, GB"]
  for name, label in _PARTS.items():
    size = getattr(memory, name)
    if size or name in ("parameters", "optimizer"):
      lines.append(_row(label, _gb(size)))
  if total is not None:
    lines.append(_row("together", _gb(total)))
  lines.append(_row("there is", _gb(figures.hbm)))
  lines += [
    "\nFLOPs of a step, matrix products alone",
    _row("as written, all chips", f"{figures.flops:.3e}"),
    _row(f"as compiled, a {unit}", f"{figures.device_flops:.3e}"),
    _row("computed more than once", _again(figures, place)),
  ]
  if figures.fits:
    lines.append(f"\ncollectives: what a {unit} sends in a step")
    for kind, entry in sorted(figures.collectives.items()):
      sent = f"{_gb(entry.sent)} GB in {entry.calls:,.0f}"
      lines.append(_row(kind, sent))
    lines.append(_row("together", f"{_gb(figures.sent)} GB"))
  lines.append("\nlower bound of a step, ms")
  for name, label in _BY.items():
    if getattr(bound, name) or figures.fits:
      lines.append(_row(label, _ms(getattr(bound, name))))
  lines.append(
    f"\na step takes at least {_ms(bound.seconds)} ms, for "
    f"{_BY[bound.by]}; compiled in {figures.compile_seconds:.0f} s"
  )
  return "\n".join(lines)


def verdict(figures: Figures) -> str:
  """Says whether the step fits, and by how much."""
  total = figures.memory.total
  if total is None or not figures.fits:
    return f"no ({figures.reason})"
  return f"yes ({_gb(total)} of {_gb(figures.hbm)} GB)"


def ranking(rows: list[tuple[str, Figures]], left_out: dict[str, str]) -> str:
  """Formats the ranking of meshes, best first, and those left out."""
  lines = ["mesh                       memory, GB  sent, GB  at least, ms  by"]
  for name, figures in rows:
    total = figures.memory.total
    lines.append(
      f"{name:<26} "
      + (
        f"{_gb(total):>10}  {_gb(figures.sent):>8}  "
        f"{_ms(figures.bound.seconds):>12}  {figures.bound.by}"
        if total is not None and figures.fits
        else f"does not fit: {figures.reason}"
      )
    )
  lines += [f"{name:<26} left out: {why}" for name, why in left_out.items()]
  return "\n".join(lines)


def as_json(figures: Figures) -> dict[str, Any]:
  """All figures as JSON, in bytes and seconds."""
  bound = dataclasses.asdict(figures.bound)
  bound |= {"seconds": figures.bound.seconds, "by": figures.bound.by}
  return {**dataclasses.asdict(figures), "bound": bound, "sent": figures.sent}


def _again(figures: Figures, place: Slice) -> str:
  share = figures.flops / len(place.devices)
  if not figures.fits or not share:
    return "unknown"
  return f"{100 * max(figures.device_flops / share - 1, 0.0):.1f} %"


def _row(label: str, value: str) -> str:
  return f"  {label:<42}{value:>14}"


def _ms(seconds: float) -> str:
  return f"{1e3 * seconds:#.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _gb(size: float) -> str:
  return f"{size / 1e9:.2f}" if size >= 1e7 else f"{size / 1e9:.5f}"
