"""The records of a run: its sources, and what of them is held out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from offalign import data
from offalign.config.config import blaming
from offalign.config.data import DataConfig
from offalign.data import Problem, Record
from offalign.data.batches import mixture
from offalign.data.reading.records import count
from offalign.errors import UserError

HELD_OUT = 0.1  # share of the prompts, where nothing else is said


@dataclasses.dataclass(frozen=True)
class Source:
  """Records that are read together and compared with each other.

  Attributes:
    name: as the user wrote it; "" for the only one of a run.
    weight: in proportion to which rows are drawn.
    train: the records to train on.
    held: those held out, perhaps none.
  """

  name: str
  weight: float
  train: Sequence[Record]
  held: Sequence[Record] = ()

  def label(self, what: str) -> str:
    """ "training", or "training, a.jsonl" in a mixture; for messages."""
    return f"{what}, {self.name}" if self.name else what


@dataclasses.dataclass(frozen=True)
class Sources:
  """What a run reads.

  Attributes:
    sources: at least one; several are a mixture.
    held: the records of `eval_path`, which are of no source; or none.
    problems: bad rows that were left out.
    sentences: what was done.
  """

  sources: tuple[Source, ...]
  held: tuple[Record, ...]
  problems: tuple[Problem, ...]
  sentences: tuple[str, ...]

  @property
  def train(self) -> tuple[Record, ...]:
    """The training records of all sources."""
    return tuple(record for each in self.sources for record in each.train)

  @property
  def is_mixture(self) -> bool:
    """Whether rows are drawn by weights."""
    return len(self.sources) > 1


def load(config: DataConfig, seed: int) -> Sources:
  """Reads all sources, and holds out.

  Args:
    config: the data flags.
    seed: chooses the held-out prompts.

  Raises:
    UserError: for data that cannot be read, or an unused option.
  """
  how: dict[str, Any] = {
    name: getattr(config, name) for name in ("form", "int_labels", "bad_rows")
  }
  said: list[str] = []
  problems: list[Problem] = []

  def read(path: str, flag: str, what: str) -> tuple[Record, ...]:
    with blaming(flag):
      table = data.load(path, **how)
    said.extend(f"{what}: {s}" for s in table.summary.sentences)
    problems.extend(table.problems)
    return table.records

  with blaming("--cfg.data.path"):
    named = mixture.parse(config.path) or (("", 1.0),)
  sources = tuple(
    Source(name, w, read(name or config.path, "--cfg.data.path", "data"))
    for name, w in named
  )
  held: tuple[Record, ...] = ()
  if config.eval_path is None:
    sources = _hold_out(sources, config.eval_fraction, seed, said)
  else:
    if config.eval_fraction is not None:
      raise UserError(
        "--cfg.data.eval_fraction is set beside --cfg.data.eval_path; give one"
      )
    with blaming("--cfg.data.eval_path"):
      if mixture.parse(config.eval_path):
        raise UserError(
          "weights are of what is drawn in training, and all held-out rows are "
          "looked at; leave them out"
        )
    held = read(config.eval_path, "--cfg.data.eval_path", "held-out data")
    _note_leaks(sources, held, said)
  return Sources(sources, held, tuple(problems), tuple(said))


def _note_leaks(
  sources: Sequence[Source], held: Sequence[Record], said: list[str]
) -> None:
  prompts = {record.prompt for each in sources for record in each.train}
  leaked = sum(record.prompt in prompts for record in held)
  if leaked:
    said.append(
      f"warning: {leaked} of {len(held)} held-out rows have a prompt of the "
      "training data, so held-out figures flatter the run"
    )


def _hold_out(
  sources: tuple[Source, ...],
  fraction: float | None,
  seed: int,
  said: list[str],
) -> tuple[Source, ...]:
  """The same prompts for all sources, so that none is on both sides."""
  fraction = HELD_OUT if fraction is None else fraction
  if fraction == 0:
    return sources
  records = [record for each in sources for record in each.train]
  with blaming("--cfg.data.eval_fraction"):
    _, rest = data.split_by_prompt(records, fraction, seed=seed)
  said.append(
    f"held out {len(rest):,} of {len(records):,} rows, all rows of "
    f"{fraction:.0%} of the prompts"
  )
  prompts = {record.prompt for record in rest}
  out = []
  for each in sources:
    train = tuple(r for r in each.train if r.prompt not in prompts)
    held = tuple(r for r in each.train if r.prompt in prompts)
    if not train:
      raise UserError(
        f"--cfg.data.eval_fraction={fraction:g} holds out "
        f"{count(len(held), 'row')} of {each.name}, which are all of them; "
        "lower it, or name other rows with --cfg.data.eval_path"
      )
    out.append(dataclasses.replace(each, train=train, held=held))
  return tuple(out)
