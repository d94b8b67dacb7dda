"""Equal tokens: rows, prompts and leaks that text tells apart alone."""

from collections.abc import Callable, Sequence

import numpy as np

from offalign.audit.checks.duplicates import Firsts, Name
from offalign.audit.checks.token_entries import prompt_text, sequences
from offalign.audit.findings import LISTED, Finding, Severity, percent
from offalign.audit.scan.entries import Spill, meet, runs
from offalign.data.batches.equal_tokens import EXAMPLES, EqualTokens
from offalign.data.reading.records import count
from offalign.errors import Sentence

Place = tuple[int, int]
"""Where a completion is: its row, see `place`, and its side; -1 = none, the
prompt alone."""
Why = Callable[[Sequence[Sequence[Place]], bool], str]
"""(groups of completions of equal tokens, whether there are more) -> why,
with the marks of `option`."""


class EqualRows:
  """Rows and prompts that are the same tokens, though not the same text.

  Attributes:
    found: completions of equal tokens, counted as a run counts them.
    prompts: distinct prompts by text.
    merged: prompts by text that are the tokens of another.
    repeats: rows that repeat the tokens of an earlier row, not its text.
    longer: pairs whose chosen side has more tokens than the rejected.
    as_long: pairs whose two sides have equally many tokens.
  """

  def __init__(self, entries: Spill, ranked: bool):
    """Counts `TokenEntries`; `ranked` says whether they are of pairs."""
    self.found = EqualTokens(ranked)
    self.prompts = self.merged = self.longer = self.as_long = 0
    self.repeats = Firsts()
    self._prompts: list[list[Place]] = []
    self._room = EXAMPLES
    for part in entries.parts():
      self.found.add(sequences(part))
      self._add_prompts(part)
      part = part[np.lexsort((part["side"], part["row"]))]
      self._add_repeats(part)
      if ranked:
        first, second = part[part["side"] == 0], part[part["side"] == 1]
        both = np.intersect1d(first["row"], second["row"])
        one = first["words"][np.isin(first["row"], both)]
        other = second["words"][np.isin(second["row"], both)]
        self.longer += int((one > other).sum())
        self.as_long += int((one == other).sum())

  def _add_prompts(self, part: np.ndarray) -> None:
    texts = prompt_text(part)
    order = np.lexsort((part["row"], texts, part["prompt"]))
    part, texts = part[order], texts[order]
    firsts = runs(part["prompt"], texts)[0]
    part = part[firsts]
    self.prompts += len(part)
    starts, sizes = runs(part["prompt"])
    self.merged += len(part) - len(starts)
    several = sizes > 1
    for start, size in zip(starts[several], sizes[several], strict=True):
      members = part[start : start + min(size, self._room)]
      if len(members) > 1:
        self._room -= len(members)
        self._prompts.append([(int(m["row"]), -1) for m in members])

  def _add_repeats(self, part: np.ndarray) -> None:
    """Finds rows of the same tokens and feedback, and of another text."""
    if not len(part):
      return
    starts, _ = runs(part["row"])
    tokens = _of_rows(part, part["text"], starts)
    values = np.nan_to_num(part["value"], nan=0.5).view(np.uint64)
    tokens ^= _of_rows(part, values, starts)
    texts = _of_rows(part, part["record"], starts)
    rows = part["row"][starts]
    order = np.lexsort((rows, tokens))
    rows, tokens, texts = rows[order], tokens[order], texts[order]
    starts, sizes = runs(tokens)
    owner = np.repeat(starts, sizes)
    again = (owner != np.arange(len(rows))) & (texts != texts[owner])
    self.repeats.add(rows[again], rows[owner][again])

  def findings(self, name: Name, why: Why, *, is_rated: bool) -> list[Finding]:
    """Returns a finding for each kind that occurs.

    Args:
      name: says where a row is.
      why: says what made completions equal.
      is_rated: whether something says which completions are good; else
        nothing is refused.
    """
    found = self.found
    severe = found.is_nothing_left and is_rated
    return [
      *self._alike(name, why, severe),
      *self._contrary(name, why, severe),
      *self._same_prompts(name, why),
      *self.repeats.finding(
        "warning",
        "duplicate_tokens",
        "row|that differ from an earlier one as text and not as tokens",
        "repeats",
        "remove them, or mean to give those rows more weight",
        (name, name),
      ),
    ]

  def _alike(self, name: Name, why: Why, severe: bool) -> list[Finding]:
    found = self.found
    if not found.alike:
      return []
    what = (
      f"{found.alike:,} of {found.rows:,} pairs have a chosen and a "
      "rejected completion that differ as text and are the same tokens"
      if found.ranked
      else f"{found.alike:,} of {found.rows:,} rows with several "
      f"completions have fewer as tokens than as text, {found.single:,} of "
      "them one alone"
    )
    reason = why(found.examples("alike"), found.has_more("alike"))
    where = tuple(name(row) for row in found.alike_rows)
    what = f"{what}: {reason}"
    return [_finding(severe, "equal_tokens", what, found.alike, where)]

  def _contrary(self, name: Name, why: Why, severe: bool) -> list[Finding]:
    found = self.found
    if not found.contrary:
      return []
    what = (
      f"{found.contrary:,} of {found.sequences:,} comparisons are made "
      "both ways, by texts that differ and tokens that do not"
      if found.ranked
      else f"{found.contrary:,} of {found.sequences:,} token sequences "
      "have different feedback (rewards, or both labels), from texts that "
      "differ"
    )
    reason = why(found.examples("contrary"), found.has_more("contrary"))
    where = tuple(f"{name(a)} and {name(b)}" for a, b in found.contrary_rows)
    what = f"{what}: {reason}"
    return [_finding(severe, "contrary_tokens", what, found.contrary, where)]

  def _same_prompts(self, name: Name, why: Why) -> list[Finding]:
    if not self.merged:
      return []
    where = [
      " and ".join(name(row) for row, _ in group[:2])
      for group in sorted(map(sorted, self._prompts))[:LISTED]
    ]
    return [
      Finding(
        "warning",
        "equal_prompts",
        Sentence(
          f"{count(self.prompts, 'prompt')} of different text are "
          f"{self.prompts - self.merged:,} as tokens: "
          f"{why(self._prompts, self._room < 2)}"
        ),
        "raise the limit or change the template; a run takes those of the "
        "same tokens for one prompt when it holds out",
        self.merged,
        tuple(where),
      )
    ]


def leaks(
  train: Spill, test: Spill, name: Name, test_name: Name
) -> list[Finding]:
  """Finds test prompts that training has as tokens, and not as text.

  Args:
    train: `TokenEntries` of the training data.
    test: those of the test set.
    name: says where a row of the training data is.
    test_name: says where a row of the test set is.
  """
  prompts, leaked = 0, Firsts()
  for one, other in meet(train, test):
    texts = prompt_text(other)
    _, first = np.unique(texts, return_index=True)
    asked, texts = other[first], texts[first]
    prompts += len(asked)
    new = ~np.isin(texts, prompt_text(one))
    hit = asked[new & np.isin(asked["prompt"], one["prompt"])]
    keys, at = np.unique(one["prompt"], return_index=True)
    where = at[np.searchsorted(keys, hit["prompt"])]
    leaked.add(hit["row"], one["row"][where])
  return leaked.finding(
    "warning",
    "token_leakage",
    f"prompt|of the test set's {prompts:,} "
    f"({percent(leaked.count, prompts)}) that the training data has as "
    "tokens, though not as text",
    "is the tokens of",
    "raise the limit, change the template, or take them out of one side",
    (test_name, name),
  )


def _of_rows(
  part: np.ndarray, key: np.ndarray, starts: np.ndarray
) -> np.ndarray:
  """Joins the keys of each row's completions, in their order; uint64 [R]."""
  mixed = (key ^ (key >> np.uint64(29))) * (
    np.uint64(0x9E3779B97F4A7C15) + np.uint64(2) * part["side"].astype("u8")
  )
  mixed ^= mixed >> np.uint64(31)
  return np.add.reduceat(mixed, starts)


def _finding(
  severe: bool, kind: str, what: str, number: int, where: tuple[str, ...]
) -> Finding:
  """An error where a run refuses, else a warning."""
  severity: Severity = "error" if severe else "warning"
  return Finding(severity, kind, Sentence(what), _remedy(severe), number, where)


def _remedy(severe: bool) -> str:
  if severe:
    return (
      "nothing is left to learn from, and a run refuses it: change the rows, "
      "the limit or the template"
    )
  return "change these rows, the limit or the template; a run warns of them"
