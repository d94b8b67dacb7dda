"""The records of a run by source, and what of them is held out."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from offalign import data
from offalign.config.data import DataConfig
from offalign.data import Problem, Record, Table
from offalign.data.batches import mixture
from offalign.data.reading import aspects, columns
from offalign.data.reading.aspects import Scales
from offalign.data.reading.records import Prompt, count
from offalign.data.reading.table import by_lot
from offalign.errors import (
  UserError,
  concerning,
  marked,
  option,
  qualify,
  within,
)
from offalign.training.split import Split

HELD_OUT = 0.1  # share of the prompts, where nothing else is said


@dataclasses.dataclass(frozen=True)
class Source:
  """Records that are read together and compared with each other.

  Attributes:
    name: as the user wrote it in a mixture; else "".
    weight: in proportion to which rows are drawn.
    train: the records to train on; none of those in `eval_path`.
    held: those held out, perhaps none.
    problems: bad rows that were left out.
  """

  name: str
  weight: float
  train: Sequence[Record]
  held: Sequence[Record] = ()
  problems: tuple[Problem, ...] = ()

  def label(self, what: str) -> str:
    """ "training", or "training, a.jsonl" in a mixture; for messages."""
    return f"{what}, {self.name}" if self.name else what


def is_mixture(sources: Sequence[Source]) -> bool:
  """Whether rows of several sources are drawn by weights."""
  return bool(sources[0].name)


def prompts(
  sources: Sequence[Source],
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
  """The distinct prompts that are trained on, and those that are held out."""
  trained = dict.fromkeys(r.prompt for each in sources for r in each.train)
  held = dict.fromkeys(r.prompt for each in sources for r in each.held)
  return tuple(trained), tuple(held)


def load(
  config: DataConfig, split: Split, said: list[str]
) -> tuple[Source, ...]:
  """Reads all sources, and holds out prompts.

  Args:
    config: the data flags.
    split: chooses the held-out prompts.
    said: sentences on what was done are added here.

  Returns:
    The sources to train on, one or those of a mixture; and last, where there
    is an `eval_path`, what is in it.

  Raises:
    UserError: for data that cannot be read, or an unused option.
  """
  how: dict[str, Any] = {
    name: getattr(config, name)
    for name in (
      *("form", "int_labels", "bad_rows", "columns"),
      *("reward_weights", "reward_least", "reward_scaling"),
    )
  }

  with within("data"):
    columns.parse(config.columns)
    aspects.parse(
      config.reward_weights, config.reward_least, config.reward_scaling
    )

  def read(
    path: str, flag: str, what: str, scales: Scales | None = None
  ) -> Table:
    with concerning(flag), within("data"):
      table = data.load(path, **how, reward_scales=scales)
    said.extend(
      f"{what}: {qualify(s, 'data')}" for s in table.summary.sentences
    )
    return table

  with concerning(option("data.path")):
    named = mixture.parse(config.path) or (("", 1.0),)
  sources: list[Source] = []
  found: list[Scales | None] = []
  for name, weight in named:
    table = read(name or config.path, option("data.path"), "data")
    found.append(table.scales)
    sources.append(Source(name, weight, table.records, problems=table.problems))
  if config.eval_path is None:
    return hold_out(sources, config.eval_fraction, split, said)
  if config.eval_fraction is not None:
    raise UserError(
      f"{option('data.eval_fraction')} is set beside "
      f"{option('data.eval_path')}; give one"
    )
  with concerning(option("data.eval_path")):
    if mixture.parse(config.eval_path):
      raise UserError(
        "weights are of what is drawn in training, and all held-out rows are "
        "looked at; leave them out"
      )
  if len(found) > 1 and found[0] is not None:
    raise UserError(
      f"{option('data.reward_weights')} is set beside "
      f"{option('data.eval_path')}, whose rows are of no source of the "
      f"mixture; hold out by {option('data.eval_fraction')}"
    )
  table = read(
    config.eval_path, option("data.eval_path"), "held-out data", found[0]
  )
  _note_leaks(sources, table.records, said)
  held = Source("", 1.0, (), table.records, table.problems)
  return (*sources, held)


@contextlib.contextmanager
def naming_unread(said: Sequence[str]) -> Iterator[None]:
  """Names the columns that were not read where a loss lacks its feedback.

  Args:
    said: the sentences of `load`.
  """
  try:
    yield
  except UserError as error:
    unread = [
      s.removeprefix("data: ").removeprefix("warning: ")
      for s in map(marked, said)
      if "not read" in s and "columns" in s
    ]
    if not unread or "has prompts and completions alone" not in str(error):
      raise
    more = "; ".join(unread)
    raise UserError(f"{marked(error)}; {more}", error.option) from None


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


def hold_out(
  sources: Sequence[Source],
  fraction: float | None,
  split: Split,
  said: list[str],
  alike: Mapping[Prompt, Prompt] | None = None,
) -> tuple[Source, ...]:
  """Holds out the same prompts of all sources, so that none is on both sides.

  Args:
    sources: whose records are all to train on.
    fraction: of the prompts; None = `HELD_OUT`.
    split: chooses the prompts.
    said: gains a sentence on what was done.
    alike: a prompt -> the first that is the same tokens, which stands for it;
      None = all prompts are different tokens.

  Raises:
    UserError: where a side would be empty.
  """
  fraction = HELD_OUT if fraction is None else fraction
  if fraction == 0:
    return tuple(sources)
  records = [record for each in sources for record in each.train]
  by_tokens = ", by prompts that differ as tokens" if alike else ""
  with concerning(f"{option('data.eval_fraction')}{by_tokens}"):
    firsts = [r for r in records if not alike or alike[r.prompt] == r.prompt]
    _, rest = data.split_by_prompt(firsts, fraction, seed=split.seed)
    lots = by_lot((r.prompt for r in firsts), split.seed)
    prompts = split.choose(lots, {r.prompt for r in rest}, alike)
  chosen, inherited = len(prompts), split.inherited(prompts)
  if alike:
    prompts = {prompt for prompt in alike if alike[prompt] in prompts}
  held_rows = sum(record.prompt in prompts for record in records)
  as_tokens = " (those of the same tokens are one)" if alike else ""
  of = f"{fraction:.0%} of the prompts"
  if inherited:
    of = (
      f"{count(chosen, 'prompt')}, of which {split.parent} holds out "
      f"{inherited:,}"
    )
  said.append(
    f"held out {held_rows:,} of {len(records):,} rows, all rows of "
    f"{of}{as_tokens}"
  )
  out = []
  for each in sources:
    train = tuple(r for r in each.train if r.prompt not in prompts)
    held = tuple(r for r in each.train if r.prompt in prompts)
    if not train:
      raise UserError(
        f"{option('data.eval_fraction', f'{fraction:g}')} holds out "
        f"{count(len(held), 'row')} of {each.name}, which are all of them; "
        f"lower it, or name other rows with {option('data.eval_path')}"
      )
    out.append(dataclasses.replace(each, train=train, held=held))
  return tuple(out)
