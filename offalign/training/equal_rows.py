"""Warn of, or refuse, rows that text tells apart and tokens do not."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from offalign.config.data import DataConfig
from offalign.data import Tokenizer, TokenRows, View
from offalign.data.batches.equal_tokens import LISTED, SEQUENCE, EqualTokens
from offalign.data.batches.least_limits import Causes, causes
from offalign.data.batches.token_rows import distinct_texts
from offalign.data.reading.records import Prompt
from offalign.data.text.round_trip import SAID, Lost
from offalign.data.views.provenance import origins
from offalign.errors import UserError, option, qualify
from offalign.types import Kind

_BLOCK = 1 << 16  # rows that are looked at together, about
_NAMED = 3  # places of a row that is made of several


@dataclasses.dataclass(frozen=True)
class Part:
  """Rows of a run, and the texts that they were made of.

  Attributes:
    view: the texts.
    rows: the tokens; the rows of the view, or some of them.
  """

  view: View
  rows: TokenRows


def check(
  parts: Sequence[Part],
  tokenizer: Tokenizer,
  config: DataConfig,
  *,
  reads_feedback: bool,
  refuse: bool,
  look_for_lost: bool = True,
) -> list[str]:
  """Looks at rows after tokenising; says what became equal, or was lost.

  Args:
    parts: which are counted together; no text is in two of them. The first
      is what is trained on.
    tokenizer: made the tokens.
    config: the limits.
    reads_feedback: whether the loss reads rewards or labels.
    refuse: whether to refuse rows that teach nothing.
    look_for_lost: whether to say what of the texts is not in the tokens.

  Returns:
    Sentences; empty where tokens tell apart whatever text does.

  Raises:
    UserError: where `refuse` is set, and nothing is left to learn from.
  """
  rows = _Rows(parts, tokenizer, reads_feedback)
  lost, space = rows.lost() if look_for_lost else ([], [])
  found = rows.equal(len(parts))
  faults = []
  if found.alike or found.contrary:
    is_nothing_left = rows.equal(1).is_nothing_left
    rows.sort()
    found = rows.equal(len(parts))
    for what in ("alike", "contrary"):
      if sentence := _fault(what, found, rows, config):
        faults.append(sentence)
    if refuse and is_nothing_left:
      raise UserError(
        f"{'; '.join([*lost, *faults])}. Nothing is left to learn from; "
        "change the rows, the limit or the template"
      )
  warned = [f"warning: {sentence}" for sentence in (*lost, *faults)]
  return [*warned, *(f"note: {sentence}" for sentence in space)]


def _fault(
  what: str, found: EqualTokens, rows: "_Rows", config: DataConfig
) -> str:
  """What became equal, its rows and its cause; "" if nothing did."""
  hit = found.alike if what == "alike" else found.contrary
  if not hit:
    return ""
  is_pair = rows.kind is Kind.PAIR
  if what == "alike":
    noun, total = "pair" if is_pair else "group", len(rows)
    said = "have completions that differ as text and not as tokens"
    if is_pair:
      said = "have a chosen and a rejected completion of the same tokens"
    elif found.single:
      said += f", {found.single:,} of them one token sequence alone"
    named: list[tuple[int, ...]] = [(row,) for row in found.alike_rows]
  else:
    noun, total = "token sequence", found.sequences
    feedback = "both labels" if rows.labelled else "different rewards"
    said = f"have {feedback}, from texts that differ"
    if is_pair:
      noun = "comparison"
      said = "are made both ways, by texts that differ and tokens that do not"
    named = [*found.contrary_rows]
  why = rows.causes(found.examples(what)).sentence(
    config.max_prompt, config.max_completion, is_sample=found.has_more(what)
  )
  return (
    f"{hit:,} of {total:,} {noun}s {said} ({rows.names(named, hit)}): "
    f"{qualify(why, 'data')}"
  )


class _Rows:
  """The rows of all parts, numbered from 0."""

  def __init__(
    self, parts: Sequence[Part], tokenizer: Tokenizer, reads_feedback: bool
  ):
    self._parts, self._tokenizer = parts, tokenizer
    self._reads = reads_feedback
    self._begins = np.cumsum([0, *(len(part.rows) for part in parts)])
    self.kind = parts[0].rows.kind
    self.labelled = parts[0].rows.labels is not None
    self._order: np.ndarray | None = None
    self._number = np.arange(len(self))

  def __len__(self) -> int:
    return int(self._begins[-1])

  def _at(self, n: int) -> tuple[int, int]:
    """The part of a row, and its number there."""
    joint = n if self._order is None else int(self._order[n])
    p = int(np.searchsorted(self._begins, joint, side="right")) - 1
    return p, joint - int(self._begins[p])

  def sort(self) -> None:
    """Numbers the rows in the order of the data."""
    if self._order is not None:
      return
    files: dict[str, int] = {}
    places = []
    for part in self._parts:
      for sources in part.rows.sources:
        first = origins(sources[0])[0]
        file = files.setdefault(first.file, len(files))
        places.append((file, first.row, first.completion))
    self._order = np.array(sorted(range(len(places)), key=places.__getitem__))
    self._number = np.empty_like(self._order)
    self._number[self._order] = np.arange(len(self._order))

  def names(self, rows: Sequence[Sequence[int]], hit: int) -> str:
    """Names rows, some of which belong together.

    Args:
      rows: each the numbers of rows that belong together.
      hit: how many there are in all.
    """
    named = [
      tuple(self._parts[p].rows.sources[i] for p, i in map(self._at, each))
      for each in rows
    ]
    return row_names(named) + (", ..." if hit > len(rows) else "")

  def equal(self, parts: int) -> EqualTokens:
    """Counts equal tokens over the first parts."""
    found = EqualTokens(self.kind is Kind.PAIR)
    # Whole prompts at a time, so that memory does not grow with the rows.
    blocks = len(self) // _BLOCK + 1
    for block in range(blocks):
      entries, texts = [], 0
      for p in range(parts):
        rows = self._parts[p].rows
        assert rows.prompt_digests is not None
        digests = rows.prompt_digests[rows.prompt_index]
        picked = np.flatnonzero(digests % np.uint64(blocks) == block)
        entries.append(self._entries(p, picked, texts))
        texts += len(rows.completions)
      found.add(np.concatenate(entries))
    return found

  def _entries(self, p: int, picked: np.ndarray, texts: int) -> np.ndarray:
    """Some rows of a part; each distinct text is one sequence there."""
    rows = self._parts[p].rows
    assert rows.prompt_digests is not None
    assert rows.completion_digests is not None
    index = rows.completion_index[picked]
    n, k = index.shape
    prompts = rows.prompt_digests[rows.prompt_index[picked]]
    made = np.zeros(n * k, SEQUENCE)
    made["row"] = np.repeat(self._number[self._begins[p] + picked], k)
    made["side"] = np.tile(np.arange(k), n)
    made["prompt"] = np.repeat(prompts, k)
    made["tokens"] = rows.completion_digests[index.ravel()]
    made["text"] = index.ravel() + texts
    made["value"] = np.nan
    value = rows.labels if self.labelled else rows.rewards
    if value is not None and self._reads:
      made["value"] = value[picked].ravel()
    return made

  def causes(self, groups: Sequence[Sequence[tuple[int, int]]]) -> Causes:
    """Why the texts of each group of (row, side) are the same tokens."""
    sequences = [_sequences(part.view) for part in self._parts]

    def turn(n: int, side: int) -> tuple[Prompt, str]:
      p, i = self._at(n)
      return sequences[p][self._parts[p].rows.completion_index[i, side]]

    return causes(
      self._tokenizer,
      ([turn(n, side) for n, side in group] for group in groups),
    )

  def lost(self) -> tuple[list[str], list[str]]:
    """What of conversations is not among the tokens; and white space alone."""
    lost: list[str] = []
    space: list[str] = []
    flags = np.concatenate([_flags(part.rows) for part in self._parts])
    if flags.any():
      self.sort()
      assert self._order is not None
      flags = flags[self._order]
    for flag, what in SAID.items():
      rows = np.flatnonzero(flags & flag)
      if len(rows):
        what = what.format(limit=option("data.max_prompt"))
        named = self.names([(int(row),) for row in rows[:LISTED]], len(rows))
        (space if flag is Lost.SPACE else lost).append(
          f"{len(rows):,} of {len(self):,} rows {what} ({named})"
        )
    return lost, space


def _flags(rows: TokenRows) -> np.ndarray:
  """uint8 [N]: `Lost` flags of each row."""
  if rows.lost_prompts is None or rows.lost_completions is None:
    return np.zeros(len(rows), np.uint8)
  replies = rows.lost_completions[rows.completion_index]
  return rows.lost_prompts[rows.prompt_index] | np.bitwise_or.reduce(
    replies, axis=1
  )


def _sequences(view: View) -> list[tuple[Prompt, str]]:
  """The distinct texts, numbered as the sequences of its token rows."""
  prompts, sequences, _, _ = distinct_texts(view)
  numbered = list(prompts)
  return [(numbered[q], text) for q, text in sequences]


def row_names(rows: Sequence[Sequence[Sequence[str]]]) -> str:
  """Names rows of views by where their completions are from.

  >>> row_names([(("a.jsonl:3[0]", "a.jsonl:3[1]"),), (("a.jsonl:5",),)])
  'a.jsonl, row 3, row 5'
  >>> row_names([(("a.jsonl:3",), ("a.jsonl:7",)), (("b.jsonl:1",),)])
  'a.jsonl, rows 3 and 7; b.jsonl, row 1'
  >>> row_names([(("a:3[0]", "a:3[1]"),), (("a:3[2]", "a:3[3]"),)])
  'a, row 3 (0 and 1), row 3 (2 and 3)'

  Args:
    rows: each the `sources` of rows that belong together.
  """
  said, last = "", None
  made = [
    [o for sources in row for source in sources for o in origins(source)]
    for row in rows
  ]
  places = [
    tuple(dict.fromkeys((o.file, o.row) for o in each)) for each in made
  ]
  met = collections.Counter(places)
  for each, found in zip(made, places, strict=True):
    files: dict[str, list[int]] = {}
    for file, row in found[:_NAMED]:
      files.setdefault(file, []).append(row)
    parts = []
    for file, numbers in files.items():
      noun = "row" if len(numbers) == 1 else "rows"
      parts.append(f"{file}, {noun} {' and '.join(map(str, numbers))}")
    one = " and ".join(parts) + (" and more" if len(found) > _NAMED else "")
    if met[found] > 1 and len(found) == 1:
      # Several rows of a view are made of it.
      sides = dict.fromkeys(o.completion for o in each)
      one += f" ({' and '.join(map(str, sides))})"
    only = next(iter(files)) if len(files) == 1 else None
    if said and only is not None and only == last:
      said += ", " + one.removeprefix(f"{only}, ")
    else:
      said += ("; " if said else "") + one
    last = only
  return said
