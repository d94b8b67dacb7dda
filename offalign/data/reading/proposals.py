"""Guesses which columns of a file are those of a form, by names and values."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from offalign.data.reading.columns import Entry, flag, from_json
from offalign.data.reading.parsing import as_number
from offalign.data.reading.records import quote

_SHOWN = 30  # columns
_NAME = 60  # characters; a longer name is a row that was taken for names
_DEEP = 3  # keys inside keys
_SCORED = 200  # values looked at,
_LOOKED_AT = 300  # and columns

# Other names for the columns of forms, the likeliest first.
_NAMES = {
  "prompt": (
    "question query instruction input request user problem ask message "
    "context text"
  ),
  "completion": (
    "response answer output reply generation generated bot assistant model "
    "result solution content text"
  ),
  "reward": (
    "score rating stars star feedback grade quality points rank value "
    "preference"
  ),
  "label": (
    "thumb thumbs vote votes like liked likes feedback upvote upvoted helpful "
    "good kto tag verdict correct rating score preference"
  ),
  "chosen": "preferred accepted winner winning better positive good best",
  "rejected": "dispreferred loser losing worse negative bad worst",
  "messages": "conversation conversations dialogue dialog chat turns history",
  "completions": "responses answers outputs replies candidates generations",
  "rewards": "scores ratings",
}
_FEEDBACK = frozenset(
  (
    *("score", "scores", "rating", "ratings", "rated", "thumb", "thumbs"),
    *("stars", "star", "feedback", "label", "labels", "vote", "votes", "like"),
    *("likes", "liked", "upvote", "upvotes", "upvoted", "reward", "rewards"),
    *("grade", "preference"),
  )
)
_THUMBS = frozenset(
  ("thumb", "thumbs", "label", "vote", "like", "liked", "upvote", "upvoted")
)
_GOOD_BAD = (
  "up/down thumbs_up/thumbs_down thumbsup/thumbsdown thumb_up/thumb_down 1/-1 "
  "1/0 +1/-1 true/false yes/no y/n good/bad positive/negative pos/neg "
  "like/dislike liked/disliked upvote/downvote accept/reject "
  "accepted/rejected correct/incorrect helpful/unhelpful pass/fail +/- "
  "👍/👎 chosen/rejected win/loss"
)
_NEUTRAL = ("0", "neutral", "none", "null", "n/a", "na", "unrated", "skip")


@dataclasses.dataclass(frozen=True)
class _Leaf:
  """A column, or a key inside one, and some of what it holds."""

  name: str
  values: tuple[Any, ...]

  @property
  def kind(self) -> str:
    """What the values are, in one word."""
    if not self.values:
      return "nothing"
    if all(isinstance(v, bool) for v in self.values):
      return "boolean"
    numbers = [as_number(v) for v in self.values]
    if all(isinstance(v, int | float) for v in numbers):
      return "number"
    if all(isinstance(v, str) for v in self.values):
      return "text"
    if all(isinstance(v, list) and v for v in self.values):
      return self._of_lists()
    return "other"

  def _of_lists(self) -> str:
    items = [item for value in self.values for item in value[:4]]
    if all(isinstance(item, dict) for item in items):
      if all({"role", "content"} <= set(item) for item in items):
        return "messages"
      if all({"from", "value"} <= set(item) for item in items):
        return "sharegpt"
    if all(isinstance(item, str) for item in items):
      return "texts"
    if all(isinstance(item, int | float) for item in items):
      return "numbers"
    return "other"

  def good_bad(self) -> str:
    """Which values are good and which bad, as an entry has it; or ""."""
    spelt = {_word(v).lower(): _word(v) for v in self.values}
    if any(len(word) > 20 for word in spelt):
      return ""
    pairs = [tuple(pair.split("/")) for pair in _GOOD_BAD.split()]
    for neutral in ((), _NEUTRAL):
      for good, bad in pairs:
        rest = set(spelt) - {good, bad}
        if rest <= set(neutral) and set(spelt) & {good, bad}:
          groups = [spelt.get(good, good), spelt.get(bad, bad)]
          third = "|".join(sorted(spelt[word] for word in rest))
          return "/".join([*groups, *([third] if third else [])])
    return ""


def _word(value: Any) -> str:
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  return str(value).strip()


def shown(columns: Iterable[str]) -> list[str]:
  """Names for a message: long ones cut, and the first thirty."""
  names = [_short(name) for name in columns]
  more = [f"... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
  return names[:_SHOWN] + more


def _short(name: str) -> str:
  if len(name) > _NAME or not name.strip() or not name.isprintable():
    return quote(name)
  return name


def cure(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
  """What to do about columns that make no form; "" where nothing is known.

  Args:
    columns: of the file.
    rows: some rows.

  Returns:
    Text to be put behind a sentence, with the marks of `option`.
  """
  lines = []
  for column in columns:
    lower = column.strip().strip("\ufeff").lower()
    if lower != column and lower in _NAMES:
      lines.append(f"{quote(column)} is not {lower!r}: write it so")
      break
  if _no_names(columns):
    lines.append("its first line seems to be a row, and not the columns' names")
  inside = _rows_inside(columns, rows)
  if inside:
    lines.append(
      f"the rows seem to be the list under {quote(inside)}; write it"
    )
  entries = propose(columns, rows)
  if entries:
    text = ", ".join(map(str, entries))
    lines.append(f"to read it as it is, give {flag(text)}")
  return "".join(f"; {line}" for line in lines)


def _no_names(columns: Sequence[str]) -> bool:
  return any(
    len(c) > _NAME or (c and not isinstance(as_number(c), str)) for c in columns
  )


def _rows_inside(
  columns: Sequence[str], rows: Sequence[dict[str, Any]]
) -> str | None:
  """The key of an object whose value is the list of rows."""
  if len(rows) != 1:
    return None
  for column in columns:
    value = rows[0].get(column)
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict) and not {"role", "from"} & set(first):
      return column
  return None


def propose(
  columns: Sequence[str], rows: Sequence[dict[str, Any]]
) -> list[Entry]:
  """A map of columns that makes a form of a file; [] where none is found.

  Args:
    columns: of the file.
    rows: some rows.
  """
  leaves = list(_leaves(columns, rows))
  used: set[str] = set()

  def take(target: str, *kinds: str) -> _Leaf | None:
    found = _best(target, leaves, kinds, used)
    if found is not None:
      used.add(found.name)
    return found

  entries: list[Entry] = []
  chosen = take("chosen", "text", "messages")
  rejected = take("rejected", "text", "messages") if chosen else None
  if chosen and rejected:
    entries = [Entry("chosen", chosen.name), Entry("rejected", rejected.name)]
    prompt = take("prompt", "text", "messages")
    entries += [Entry("prompt", prompt.name)] if prompt else []
    return _checked(entries)
  used.clear()
  whole = take("messages", "messages", "sharegpt")
  # Replies may all be numbers, such as the answers of a test.
  completion = take("completion", "text") or take("completion", "number")
  prompt = take("prompt", "text")
  if whole and not (completion and prompt):
    target = "messages" if whole.kind == "messages" else "conversations"
    entries = [Entry(target, whole.name)]
  else:
    several = take("completions", "texts")
    scores = take("rewards", "numbers")
    if prompt and several and scores:
      entries = [Entry("prompt", prompt.name)]
      entries += [Entry("completions", several.name)]
      return _checked([*entries, Entry("rewards", scores.name)])
    if not (prompt and completion):
      return []
    entries = [Entry("prompt", prompt.name)]
    entries += [Entry("completion", completion.name)]
  feedback = _feedback([leaf for leaf in leaves if leaf.name not in used])
  return _checked([*entries, *([feedback] if feedback else [])])


def for_feedback(
  names: Sequence[str], rows: Sequence[dict[str, Any]]
) -> str | None:
  """The entry that would read a column as feedback; None where it cannot be.

  Args:
    names: of columns, or keys inside them.
    rows: some rows.
  """
  leaves = {leaf.name: leaf for leaf in _leaves(_tops(names), rows)}
  found = _feedback([leaves[name] for name in names if name in leaves])
  return str(found) if found and _fits(found) else None


def overlooked(
  unused: Sequence[str], sample: Callable[[], Sequence[dict[str, Any]]]
) -> tuple[str, ...]:
  """Columns that nothing reads, but that look like feedback by their names.

  Args:
    unused: columns that are not read.
    sample: gives some rows; a column without values is passed over.
  """
  if not unused:
    return ()
  found = []
  for leaf in _leaves(unused, sample()):
    if leaf.kind in ("nothing", "other", "messages", "sharegpt"):
      continue
    if leaf.kind == "text" and not leaf.good_bad():
      continue
    if _words(leaf.name) & _FEEDBACK and _short(leaf.name) == leaf.name:
      found.append(leaf.name)
  return tuple(found[:5])


def good_bad(value: Any) -> str:
  """Good and bad values of which this is one, as "up/down"; or ""."""
  return _Leaf("", (value,)).good_bad()


def like(target: str, columns: Sequence[str]) -> str | None:
  """The column whose name is most like that of a form's; None for none."""
  leaves = [_Leaf(name, ("text",)) for name in columns[:_LOOKED_AT]]
  leaf = _best(target, leaves, ("text",), set())
  return leaf.name if leaf else None


def _feedback(leaves: Sequence[_Leaf]) -> Entry | None:
  """The entry of the column that looks most like feedback."""
  for leaf in leaves:
    if not _words(leaf.name) & _FEEDBACK:
      continue
    values = leaf.good_bad()
    if leaf.kind == "boolean":
      return Entry("label", leaf.name)
    if leaf.kind == "number":
      # One value alone does not tell a thumb from a score of 1.
      several = len({_word(value) for value in leaf.values}) > 1
      thumb = bool(_words(leaf.name) & _THUMBS)
      if _words(leaf.name) == {"reward"} or not (several or thumb):
        values = ""
    if values and leaf.kind in ("text", "number"):
      groups = [tuple(group.split("|")) for group in values.split("/")]
      return Entry("label", leaf.name, *groups)
    if leaf.kind == "number":
      return Entry("reward", leaf.name)
    if leaf.kind == "numbers":
      return Entry("rewards", leaf.name)
  return None


def _checked(entries: list[Entry]) -> list[Entry]:
  """The entries that change something; [] where one cannot be written."""
  if not all(map(_fits, entries)):
    return []
  changed = [e for e in entries if e.target != e.source or e.good]
  return changed


def _fits(entry: Entry) -> bool:
  return len(entry.source) <= _NAME and entry.source.isprintable()


def _best(
  target: str, leaves: Sequence[_Leaf], kinds: tuple[str, ...], used: set[str]
) -> _Leaf | None:
  scored = [
    (_nearness(target, leaf.name), leaf)
    for leaf in leaves
    if leaf.kind in kinds and leaf.name not in used
  ]
  score, best = max(scored, key=lambda each: each[0], default=(0.0, None))
  return best if score > 0 else None


def _nearness(target: str, name: str) -> float:
  """How like the name of a form's column a name is; 0 = not at all."""
  words = _words(name)
  last = _words(name.rpartition(".")[2])
  joined = "".join(re.findall(r"\w", name.rpartition(".")[2])).lower()
  if joined == target:
    return 4.0 - 0.1 * name.count(".")
  names = _NAMES[target].split()
  for weight, group in ((3.0, last), (1.0, words)):
    for i, other in enumerate([target, *names]):
      if other in group:
        exact = 0.5 if group == {other} else 0.0
        return weight + exact - i / 50 - 0.01 * name.count(".")
  ratio = difflib.SequenceMatcher(None, joined, target).ratio()
  return ratio if ratio >= 0.8 else 0.0


def _words(name: str) -> set[str]:
  """The words of a name: "thumbsUp_v2" -> thumbs, up, v, 2."""
  parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name[:200])
  return {part.lower() for part in parts}


def _tops(names: Sequence[str]) -> list[str]:
  return [*dict.fromkeys([*names, *(n.partition(".")[0] for n in names)])]


def _leaves(
  columns: Sequence[str], rows: Sequence[dict[str, Any]]
) -> Iterator[_Leaf]:
  for column in columns[:_LOOKED_AT]:
    values = [row.get(column) for row in rows]
    yield from _inside(column, values, _DEEP)


def _inside(name: str, values: Sequence[Any], deep: int) -> Iterator[_Leaf]:
  held = [from_json(v) if isinstance(v, str) else v for v in values[:_SCORED]]
  held = [v for v in held if v is not None and v != ""]
  objects = [v for v in held if isinstance(v, dict)]
  if objects and len(objects) == len(held):
    keys = dict.fromkeys(str(key) for each in objects for key in [*each][:20])
    for key in [*keys][:20] if deep else ():
      inside = [each.get(key) for each in objects]
      yield from _inside(f"{name}.{key}", inside, deep - 1)
    return
  yield _Leaf(name, tuple(held))
