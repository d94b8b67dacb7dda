"""Search for the fastest plan that fits: mesh, microbatches, remat.

Fastest is by the bound of a compiled plan. To compile takes minutes, so what
cannot fit or cannot be faster is left out before, and the search is limited.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from typing import get_args

from offalign.distributed.sharding import MeshConfig
from offalign.models.base import Remat
from offalign.planning import meshes
from offalign.planning.analysis import Figures

REMATS: tuple[Remat, ...] = ("none", "dots", "block")
assert set(REMATS) == set(get_args(Remat))
"""From what keeps most to what recomputes most."""

MICROBATCHES = (1, 2, 4, 8, 16)

CLOSE = 1.01
"""A plan this close to a bound is taken for as fast as it."""

LIMITS = (
  "Not tried: more than {most} compilations; more than 16 microbatches; fsdp x "
  "data that do not divide the devices; tensor above 8; on a mesh where a plan "
  "fits, what recomputes more or cuts more; where a step does not fit, what "
  "keeps as much; what could be faster by less than 1%. The order is by FLOPs "
  "and by an estimate of the bytes sent."
)


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A way to run a step.

  Attributes:
    mesh: the axes.
    microbatches: pieces of a batch.
    remat: what is recomputed.
  """

  mesh: MeshConfig
  microbatches: int
  remat: Remat

  @property
  def saves(self) -> tuple[int, int]:
    """How much it does to save memory: remat and microbatches, as numbers."""
    return REMATS.index(self.remat), self.microbatches


@dataclasses.dataclass(frozen=True)
class Guess:
  """What is known of a candidate before it is compiled.

  Attributes:
    kept: bytes of weights and moments on a device, exact.
    compute: seconds of its matrix products at the peak rate: no program of it
      is faster.
    network: seconds of what it sends, by a model.
    roomy: whether its state, gradients among it, leaves most of the memory to
      activations; such a mesh is tried first.
  """

  kept: int
  compute: float
  network: float
  roomy: bool = True


@dataclasses.dataclass(frozen=True)
class Tried:
  """A candidate and what became of it.

  Attributes:
    candidate: the candidate.
    why: why it was rejected; "" for one that fits.
    figures: of the compiled step; None where it was not compiled.
  """

  candidate: Candidate
  why: str
  figures: Figures | None = None


def search(
  candidates: Sequence[Candidate],
  guess: Callable[[Candidate], Guess],
  compiled: Callable[[Candidate], Figures],
  hbm: float,
  most: int,
) -> list[Tried]:
  """Compiles the candidates that may be best, the most promising first.

  Args:
    candidates: those that can be.
    guess: what is known before.
    compiled: compiles one.
    hbm: bytes of memory of a device.
    most: how many to compile.

  Returns:
    All of them: those that fit, fastest first, then the others.
  """
  guesses = {each: guess(each) for each in candidates}

  def promise(each: Candidate) -> tuple[float, ...]:
    known = guesses[each]
    seconds = float(f"{max(known.compute, known.network):.1e}")
    mesh = each.mesh
    # Of roomy meshes the one that splits least, of others that splits most.
    split = mesh.fsdp if known.roomy else -mesh.fsdp
    return (seconds, *each.saves, mesh.tensor, not known.roomy, split)

  found: list[Tried] = []
  compiles = 0
  for each in sorted(candidates, key=promise):
    why = _left_out(each, guesses[each], found, hbm)
    if why is None and compiles >= most:
      why = f"not compiled: {most} have been"
    if why is not None:
      found.append(Tried(each, why))
      continue
    compiles += 1
    figures = compiled(each)
    why = "" if figures.fits else f"does not fit: {figures.reason}"
    found.append(Tried(each, why, figures))
  return sorted(found, key=_rank)


def _rank(tried: Tried) -> tuple[float, ...]:
  figures = tried.figures
  if figures is None:
    return (2, 0.0, 0.0)
  return (not figures.fits, figures.bound.seconds, figures.sent)


def _left_out(
  each: Candidate, guess: Guess, found: Sequence[Tried], hbm: float
) -> str | None:
  """Why a candidate need not be compiled; None where it must be."""
  if guess.kept > hbm:
    return (
      f"weights and moments alone take {guess.kept / 1e9:.3g} of "
      f"{hbm / 1e9:.3g} GB"
    )
  for other in found:
    figures = other.figures
    if figures is None:
      continue
    mesh, there = each.mesh, other.candidate.mesh
    less = _at_most(each.saves, other.candidate.saves)
    more = _at_most(other.candidate.saves, each.saves)
    if figures.fits and mesh == there and more:
      return f"{spell(other.candidate)} fits, and recomputes and cuts less"
    split = mesh.tensor == there.tensor and mesh.fsdp <= there.fsdp
    if not figures.fits and split and less:
      return f"{spell(other.candidate)} does not fit, and needs no more"
    if figures.fits and guess.compute * CLOSE >= figures.bound.seconds:
      return (
        f"its matrix products take {1e3 * guess.compute:.3g} ms, "
        f"{spell(other.candidate)} may take "
        f"{1e3 * figures.bound.seconds:.3g} ms"
      )
  return None


def _at_most(a: tuple[int, int], b: tuple[int, int]) -> bool:
  return a[0] <= b[0] and a[1] <= b[1]


def spell(each: Candidate) -> str:
  """A candidate in a few words.

  >>> spell(Candidate(MeshConfig(2, 8, 1), 4, "block"))
  'data=2,fsdp=8, microbatches=4, remat=block'
  """
  parts = [meshes.spell(each.mesh)]
  if each.microbatches > 1:
    parts.append(f"microbatches={each.microbatches}")
  if each.remat != "none":
    parts.append(f"remat={each.remat}")
  return ", ".join(parts)


def table(found: Sequence[Tried], most: int) -> str:
  """What was tried, and why each that is not best was rejected."""
  lines = ["fits, fastest first", _line("plan", "GB", "sent, GB", "ms", "by")]
  for tried in found:
    figures = tried.figures
    if figures is None or not figures.fits:
      continue
    lines.append(
      _line(
        spell(tried.candidate),
        f"{(figures.memory.total or 0) / 1e9:.4g}",
        f"{figures.sent / 1e9:.4g}",
        f"{1e3 * figures.bound.seconds:.4g}",
        figures.bound.by,
      )
    )
  if len(lines) == 2:
    lines = ["nothing fits"]
  lines += ["", "rejected", *_rejected(found)]
  compiles = sum(tried.figures is not None for tried in found)
  lines.append(f"\n{compiles} compiled. {LIMITS.format(most=most)}")
  return "\n".join(lines)


def _rejected(found: Sequence[Tried]) -> list[str]:
  """Each reason, with the candidates that it rejects, by mesh."""
  reasons: dict[str, dict[str, list[Candidate]]] = {}
  for tried in found:
    if tried.why:
      mesh = meshes.spell(tried.candidate.mesh)
      of_mesh = reasons.setdefault(tried.why, {})
      of_mesh.setdefault(mesh, []).append(tried.candidate)
  lines = []
  for why, rejected in reasons.items():
    lines.append(f"  {why}:")
    named = "; ".join(_several(mesh, each) for mesh, each in rejected.items())
    indent = "    "
    lines += textwrap.wrap(
      named, 78, initial_indent=indent, subsequent_indent=indent
    )
  return lines


def _several(mesh: str, candidates: list[Candidate]) -> str:
  if len(candidates) == 1:
    return spell(candidates[0])
  cuts = _words({str(each.microbatches) for each in candidates})
  remats = _words({each.remat for each in candidates})
  return f"{mesh} (microbatches {cuts}, remat {remats})"


def _words(names: set[str]) -> str:
  order = [*map(str, MICROBATCHES), *REMATS]
  return "/".join(
    sorted(names, key=lambda x: order.index(x) if x in order else -1)
  )


def _line(name: str, *columns: str) -> str:
  cells = "".join(f"{column:>10}" for column in columns)
  return f"  {name:<44}{cells}"
