"""--suite=kl: five strengths and eight seeds of each method, judged at one KL.

Win rate alone rewards whoever spends the most KL. Here every method is run at
five values of the option that sets how far it goes, and win rate and gain are
read off its curve at the same KL.
"""

import dataclasses

from benchmarks import cells
from benchmarks.matched_kl import report
from benchmarks.methods import Method
from benchmarks.recorder import Recorder
from benchmarks.worlds.setting import Setting
from offalign import losses
from offalign.errors import UserError, suggest

STRENGTHS = "strengths"
"""What the scenario of the suite's rows ends with."""
_WIDE = (0.03, 0.1, 0.3, 1.0, 3.0)
_WEAK = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Family:
  """One method at five strengths.

  Attributes:
    name: in the table.
    loss: its loss.
    option: what is varied.
    values: of it.
    fixed: further options.
  """

  name: str
  loss: str
  option: str
  values: tuple[float, ...]
  fixed: tuple[tuple[str, object], ...] = ()

  def methods(self) -> list[Method]:
    """One for each strength, at the track's shared learning rate."""
    return [
      Method(
        str(losses.get(self.loss, **dict(self.fixed), **{self.option: value}))
      )
      for value in self.values
    ]


FAMILIES = (
  Family("DRO-V", "dro_v", "tau", _WIDE),
  Family("DRO-group", "dro_group", "tau", _WIDE),
  Family(
    "KTO, batch threshold", "kto", "beta", _WEAK, (("threshold", "batch"),)
  ),
  Family(
    "KTO, prompt threshold", "kto", "beta", _WEAK, (("threshold", "prompt"),)
  ),
  Family("DPO", "dpo", "beta", _WEAK),
  Family("REBEL", "rebel", "eta", (0.3, 1.0, 3.0, 10.0, 30.0)),
  Family("IPO", "ipo", "tau", (0.01, 0.03, 0.1, 0.3, 1.0)),
  Family("SLiC", "slic", "beta", _WIDE),
  Family("GPO exponential", "gpo_exponential", "beta", _WIDE),
  Family("GPO squared", "gpo_squared", "beta", _WIDE),
  Family("GPO truncated quadratic", "gpo_truncated_quadratic", "beta", _WIDE),
  Family("GPO savage", "gpo_savage", "beta", _WIDE),
)


def choose(wanted: str) -> list[Family]:
  """Families by name or by loss, separated by commas.

  Raises:
    UserError: for another.
  """
  if wanted in ("", "all"):
    return list(FAMILIES)
  chosen: list[Family] = []
  for piece in (p.strip() for p in wanted.split(",")):
    found = [f for f in FAMILIES if piece in (f.name, f.loss)]
    if not found:
      known = [family.loss for family in FAMILIES]
      raise UserError(
        f"--methods names {piece!r}, which has no curve in the suite kl"
        f"{suggest(piece, known)} (losses: {', '.join(dict.fromkeys(known))})"
      )
    chosen += [family for family in found if family not in chosen]
  return chosen


def count_runs(
  families: list[Family], names: tuple[str, ...], seeds: int
) -> int:
  """How many runs the suite has, for the bar."""
  strengths = sum(len(family.values) for family in families)
  return strengths * len(names) * seeds


def run(
  recorder: Recorder,
  families: list[Family],
  names: tuple[str, ...],
  seeds: int,
  setting: Setting | None = None,
) -> None:
  """Trains what the folder does not hold yet, and writes the tables.

  Args:
    recorder: of the suite's folder.
    families: the methods.
    names: models.
    seeds: 0 .. seeds - 1.
    setting: default: the world ops with four scored completions a prompt.
  """
  setting = setting or Setting()
  for name in names:
    base = cells.prepare(recorder, name, setting)
    made = {
      label: (
        f"python -m benchmarks.run --suite=kl --methods={family.loss} "
        + " ".join([f"--model={name}", *setting.words, f"--seeds={seeds}"])
      )
      for family in families
      for label in labels(family)
    }
    cells.run_methods(
      recorder,
      base,
      [method for family in families for method in family.methods()],
      range(seeds),
      cells.Board(
        f"{setting.scenario}, {STRENGTHS}", name, commands=made, shared=True
      ),
    )
  recorder.notes.append(
    "The lines of this board are one method at several strengths, at one "
    f"learning rate; {report.PAGE} compares the methods at equal KL."
  )


def labels(family: Family) -> list[str]:
  """The labels of a family's rows."""
  return [method.name for method in family.methods()]
