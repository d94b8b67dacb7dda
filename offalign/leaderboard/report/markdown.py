"""The board as Markdown, with every row and number."""

import re
from collections.abc import Mapping, Sequence

from offalign.errors import printable
from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.ranking import budget_text
from offalign.leaderboard.report import tables

_LOSS = "loss"  # the column of code
REPRODUCE = "python -m offalign.leaderboard DIR"


def render_markdown(
  board: Board, plots: Mapping[str, Sequence[tuple[str, str]]]
) -> str:
  """Returns the report as Markdown.

  Args:
    board: what to report.
    plots: group key -> (relative path, caption) of its pictures.

  Returns:
    Markdown that depends on nothing but the arguments: no clock, no paths of
    this machine.
  """
  meta = board.meta
  blocks = [f"# {_plain(meta.title)}"]
  if meta.scale:
    blocks.append(_inert(meta.scale))
  if meta.verdicts:
    blocks += ["## Verdicts", _bullets(meta.verdicts)]
  blocks += ["## How to read the tables", _bullets(tables.legend(board.groups))]
  for group in board.groups:
    blocks += _group(board, group, plots.get(group.key, ()))
  if board.problems:
    blocks += ["## Problems", _bullets(board.problems)]
  if meta.notes:
    blocks += ["## Notes", _bullets(meta.notes)]
  blocks += ["## Environment", _bullets(tables.environments(board))]
  commands = [*filter(None, [meta.command]), REPRODUCE]
  blocks += ["## How to reproduce", _fenced("\n".join(commands))]
  return printable("\n\n".join(blocks)) + "\n"


def _inert(text: str) -> str:
  """Text from a row or meta.json, of which a viewer makes no HTML or link."""
  return text.replace("<", "&lt;").replace("](", "]\\(")


def _stars(text: str) -> str:
  """A paragraph whose stars no viewer takes for a bullet."""
  return text.replace("*", "\\*")


def _plain(text: str) -> str:
  """`_inert`, in one line."""
  text = _inert(text)
  return re.sub(r"[\r\n\u2028\u2029]+(?=\S)", " ", text)


def _code(text: str) -> str:
  """Text between more backticks than it has in a row."""
  fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
  pad = " " if text.startswith("`") or text.endswith("`") else ""
  return f"{fence}{pad}{text}{pad}{fence}"


def _fenced(text: str) -> str:
  fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
  return f"{fence}\n{text}\n{fence}"


def _group(
  board: Board, group: Group, plots: Sequence[tuple[str, str]]
) -> list[str]:
  blocks = [f"## {_plain(f'{group.track}, {group.scenario}, {group.model}')}"]
  shown = [*group.ranked, *group.controls]
  if shown:
    blocks.append(_entries(group, shown))
  blocks.append(_plain(tables.caption(group)))
  if group.said:
    blocks.append(_stars(_plain(" ".join(group.said))))
  if group.controls:
    names = _plain(", ".join(entry.label for entry in group.controls))
    blocks.append(f"Controls, not ranked: {names}.")
  if group.notes:
    blocks.append(_bullets(group.notes))
  for reason in dict.fromkeys(entry.reason for entry in group.unranked):
    same = [entry for entry in group.unranked if entry.reason == reason]
    blocks.append(f"### Not ranked: {_plain(reason)}")
    blocks.append(_entries(group, same, budget=True))
  if group.failures:
    blocks += ["### Failed runs", _failures(group)]
  for path, said in plots:
    alt = _plain(said.partition(",")[0])
    blocks += [f"![{alt}]({path})", _plain(said)]
  if group.duels:
    blocks += ["### Head to head", _duels(group)]
  points = board.meta.points(group.track, group.scenario, group.model)
  if points:
    blocks += ["### Oracle", table(tables.oracle_fields(points))]
  if tables.further_metrics(group):
    blocks += ["### Further metrics", table(tables.further_fields(group))]
  return blocks


def _entries(
  group: Group, entries: Sequence[Entry], *, budget: bool = False
) -> str:
  fields = tables.board_fields(group, entries)
  if any(entry.loss != entry.label for entry in entries):
    losses = tuple(_code(entry.loss) for entry in entries)
    fields.insert(2, tables.Field(_LOSS, losses, False))
  if budget:
    budgets = tuple(budget_text(entry.budget) for entry in entries)
    fields.append(tables.Field("budget", budgets, False))
  return table(fields)


def table(fields: Sequence[tables.Field]) -> str:
  """Returns a Markdown table."""
  lines = [
    [_cell(field.title, field) for field in fields],
    ["---:" if field.numeric else ":---" for field in fields],
  ]
  for i in range(len(fields[0].cells)):
    lines.append([_cell(field.cells[i], field) for field in fields])
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str, field: tables.Field) -> str:
  shown = text if field.title == _LOSS else _plain(text)
  return shown.replace("|", "\\|")


def _failures(group: Group) -> str:
  bad = group.failures
  return table(
    [
      tables.Field("method", tuple(f.label for f in bad), False),
      tables.Field("seed", tuple(str(f.seed) for f in bad)),
      tables.Field("error", tuple(f.error for f in bad), False),
    ]
  )


def _duels(group: Group) -> str:
  labels = tables.duelists(group)
  numbers = [str(i) for i in range(1, len(labels) + 1)]
  fields = [
    tables.Field("", tuple(numbers)),
    tables.Field("method", tuple(labels), False),
  ]
  for number, other in zip(numbers, labels, strict=True):
    cells = tuple(_duel(group, label, other) for label in labels)
    fields.append(tables.Field(f"vs {number}", cells))
  said = (
    "Win rate of the line's method against the column's on the same prompts "
    "and seed, mean ± its standard error over seeds."
  )
  return f"{table(fields)}\n\n{said}"


def _duel(group: Group, a: str, b: str) -> str:
  stat = group.duels.get((a, b))
  if stat is None:
    return "" if a != b else tables.NONE
  return f"{stat.mean:.3f}" + (
    f" ± {stat.se:.3f}" if stat.se is not None else ""
  )


def _bullets(sentences: Sequence[str]) -> str:
  return "\n".join(f"- {_plain(sentence)}" for sentence in sentences)
