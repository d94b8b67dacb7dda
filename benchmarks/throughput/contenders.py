"""Who takes part in a case, and in which environment each runs."""

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.throughput.cases import Case
from offalign.errors import UserError

OURS = "offalign"


@dataclasses.dataclass(frozen=True)
class Contender:
  """One way of making the step.

  Attributes:
    name: in the report.
    worker: module under `benchmarks.throughput`.
    environment: folder under the peers' folder with its own packages; None
      for the environment of this process.
    losses: that it takes part in.
    module: what it imports; without a peers' folder, it takes part where
      this process could import it.
    settings: further variables of its process.
    random: takes part in cases of random weights.
    published: takes part in cases of published weights.
  """

  name: str
  worker: str
  environment: str | None
  losses: tuple[str, ...]
  module: str
  settings: tuple[tuple[str, str], ...] = ()
  random: bool = True
  published: bool = False


CONTENDERS = (
  Contender(
    OURS,
    "worker_offalign",
    None,
    ("dpo", "kto", "dro_v"),
    "offalign",
    published=True,
  ),
  Contender(
    f"{OURS}, encoder's V",
    "worker_offalign",
    None,
    ("dro_v",),
    "offalign",
    (("THROUGHPUT_VALUE", "encoder"),),
  ),
  Contender("TRL", "worker_trl", "trl", ("dpo", "kto"), "trl", published=True),
  Contender(
    "TRL, compiled",
    "worker_trl",
    "trl",
    ("dpo", "kto"),
    "trl",
    (("THROUGHPUT_COMPILE", "1"),),
  ),
  Contender("EasyDeL", "worker_easydel", "easydel", ("dpo", "kto"), "easydel"),
  Contender("Tunix", "worker_tunix", "tunix", ("dpo",), "tunix"),
  Contender("PyTorch", "worker_torch_t5", "trl", ("dro_v",), "torch"),
  Contender(
    "PyTorch, plain",
    "worker_torch_decoder",
    "trl",
    ("dpo", "kto", "dro_v"),
    "torch",
    random=False,
    published=True,
  ),
)


OWN = frozenset(c.name for c in CONTENDERS if c.module == OURS)
"""Ours and its variants, which are no peers of each other."""


def python(contender: Contender, peers: Path | None) -> str | None:
  """The interpreter of a contender; None where it is absent."""
  if contender.environment is None:
    return sys.executable
  if peers is None:
    here = importlib.util.find_spec(contender.module) is not None
    return sys.executable if here else None
  found = peers / contender.environment / "bin" / "python"
  return str(found.absolute()) if found.exists() else None


def chosen(case: Case, names: Sequence[str]) -> list[Contender]:
  """Those that can run a case, and are asked for (none named: all).

  Raises:
    UserError: for a name that is not there.
  """
  known = [c.name for c in CONTENDERS]
  for name in names:
    if name not in known:
      raise UserError(
        f"there is no contender {name!r}; there are: {'; '.join(known)}"
      )
  return [
    c
    for c in CONTENDERS
    if case.loss in c.losses
    and (c.published if case.published else c.random)
    and (not names or c.name in {OURS, *names})
  ]


def environment(contender: Contender) -> dict[str, str]:
  """The variables of a contender's process: this one's, and its own."""
  return {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": str(Path(__file__).parents[2]),
    **dict(contender.settings),
  }
