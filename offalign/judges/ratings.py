"""Judge by people: side-by-side ratings from a file."""

import collections
import csv
import dataclasses
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from offalign import spec
from offalign.errors import UserError, suggest
from offalign.judges.base import Prompt, Verdicts, check_lengths
from offalign.statistics import agreement
from offalign.statistics.outcomes import prompt_id

NEEDED = ("prompt", "left", "right", "preferred")
VERDICTS = {"left": 1.0, "tie": 0.5, "right": 0.0}
_DIGEST = re.compile(r"[0-9a-f]{12}")
_ENDINGS = (".json", ".jsonl", ".csv")


@dataclasses.dataclass(frozen=True)
class Rating:
  """What one person said of two completions of a prompt.

  Attributes:
    prompt: digest of the prompt, `statistics.outcomes.prompt_id`.
    left: digest of the one completion.
    right: digest of the other.
    preferred: "left", "right" or "tie".
    rater: whose it is; "" where the file does not say.
  """

  prompt: str
  left: str
  right: str
  preferred: str
  rater: str = ""

  @property
  def pair(self) -> tuple[str, str, str]:
    """The prompt and its completions in an order of their own."""
    return _pair(self.prompt, self.left, self.right)

  @property
  def verdict(self) -> str:
    """The digest of the preferred completion, or "tie"."""
    if self.preferred == "tie":
      return "tie"
    return self.left if self.preferred == "left" else self.right


@dataclasses.dataclass(frozen=True)
class Ratings:
  """Prefers what people preferred, the mean over those who rated a pair.

  A pair that nobody rated has no verdict. The texts are known by digests, so
  they must be the rated ones, letter for letter; which of them stood on the
  left does not matter.

  Attributes:
    file: of ratings, as the page of `offalign rate` saves them, or a folder
      of such files, one a rater. JSON, JSON lines or CSV with "prompt",
      "left", "right" (texts or digests), "preferred" ("left", "right" or
      "tie") and "rater".
  """

  file: str = ""
  _ratings: tuple[Rating, ...] = dataclasses.field(
    init=False, repr=False, compare=False, hash=False
  )

  def __post_init__(self) -> None:
    if not self.file:
      raise UserError("judge 'ratings' needs a file: ratings(file='FILE')")
    object.__setattr__(self, "_ratings", tuple(read(self.file)))

  @property
  def spec(self) -> str:
    """See `Judge`."""
    return spec.unparse("ratings", {"file": self.file})

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`; counts "ties", "ratings", "raters" and "unrated"."""
    check_lengths(prompts, a, b)
    by_pair = collections.defaultdict(list)
    for rating in self._ratings:
      by_pair[rating.pair].append(rating)
    preferences = np.full(len(prompts), np.nan)
    used: list[Rating] = []
    for i, (prompt, first, second) in enumerate(
      zip(prompts, a, b, strict=True)
    ):
      if first == second:
        preferences[i] = 0.5
        continue
      one, other = prompt_id(first), prompt_id(second)
      met = by_pair.get(_pair(prompt_id(prompt), one, other), [])
      if met:
        worth = {one: 1.0, other: 0.0, "tie": 0.5}
        preferences[i] = np.mean([worth[rating.verdict] for rating in met])
        used += met
    counts = {
      "ties": int((preferences == 0.5).sum()),
      "ratings": len(used),
      "raters": len({rating.rater for rating in used}),
      "unrated": int(np.isnan(preferences).sum()),
    }
    return Verdicts(preferences, counts)


def read(path: str | pathlib.Path) -> list[Rating]:
  """Reads a file of ratings, or all files of a folder.

  Raises:
    UserError: for what is no rating, naming where it stands, and where one
      rater rated a pair twice.
  """
  path = pathlib.Path(path)
  files = [path]
  if path.is_dir():
    files = sorted(x for x in path.iterdir() if x.suffix in _ENDINGS)
  out: list[Rating] = []
  seen: dict[tuple[str, tuple[str, str, str]], str] = {}
  for file in files:
    for where, row in _rows(file):
      rating = _rating(row, where)
      twice = seen.setdefault((rating.rater, rating.pair), where)
      if twice != where:
        who = rating.rater or "a rater without a name"
        raise UserError(
          f"{where}: {who} rated this pair in {twice} already; leave one of "
          "the two out"
        )
      out.append(rating)
  if not out:
    raise UserError(f"{path} holds no rating")
  return out


def kappas(ratings: Iterable[Rating]) -> dict[str, Any]:
  """How far the raters agree beyond chance.

  Returns:
    "fleiss": kappa over the pairs that as many raters rated as most others,
    two or more, with "pairs" and "raters" of these, NaN where there are none;
    "cohen": [rater, rater, pairs that both rated, kappa] of every two.
  """
  by_pair: dict[tuple[str, str, str], dict[str, str]] = {}
  for rating in ratings:
    by_pair.setdefault(rating.pair, {})[rating.rater] = rating.verdict
  sizes = collections.Counter(len(x) for x in by_pair.values() if len(x) > 1)
  fleiss, pairs, most = float("nan"), 0, 0
  if sizes:
    most = max(sizes, key=lambda size: (sizes[size], size))
    table = [
      [
        sum(verdict == kind for verdict in said.values())
        for kind in (*pair[1:], "tie")
      ]
      for pair, said in by_pair.items()
      if len(said) == most
    ]
    fleiss, pairs = agreement.fleiss(np.array(table)), len(table)
  names = sorted({name for said in by_pair.values() for name in said})
  cohen = []
  for one, other in itertools.combinations(names, 2):
    both = [
      (_side(pair, said[one]), _side(pair, said[other]))
      for pair, said in by_pair.items()
      if one in said and other in said
    ]
    if both:
      first, second = zip(*both, strict=True)
      kappa = agreement.cohen(first, second)
      cohen.append([one, other, len(both), kappa])
  return {"fleiss": fleiss, "pairs": pairs, "raters": most, "cohen": cohen}


def with_judge(
  ratings: Sequence[Rating],
  prompts: Sequence[Prompt],
  a: Sequence[str],
  b: Sequence[str],
  said: Verdicts,
) -> tuple[float, int]:
  """Cohen's kappa of a judge and the raters' majority, and of how many pairs.

  Args:
    ratings: people's.
    prompts: that the judge was asked about.
    a: first completions.
    b: second completions.
    said: the judge's verdicts on them.
  """
  people = collections.defaultdict(list)
  for rating in ratings:
    people[rating.pair].append(rating)
  ours: list[str] = []
  theirs: list[str] = []
  for prompt, first, second, preference in zip(
    prompts, a, b, said.preferences, strict=True
  ):
    one, other = prompt_id(first), prompt_id(second)
    met = people.get(_pair(prompt_id(prompt), one, other), [])
    if not met or preference != preference or one == other:
      continue
    worth = {one: 1.0, other: 0.0, "tie": 0.5}
    middle = float(np.mean([worth[rating.verdict] for rating in met]))
    ours.append(_word(float(preference)))
    theirs.append(_word(middle))
  if not ours:
    return float("nan"), 0
  return agreement.cohen(ours, theirs), len(ours)


def _pair(prompt: str, one: str, other: str) -> tuple[str, str, str]:
  return prompt, min(one, other), max(one, other)


def _word(preference: float) -> str:
  if preference == 0.5:
    return "tie"
  return "a" if preference > 0.5 else "b"


def _side(pair: tuple[str, str, str], verdict: str) -> str:
  """Of whom a verdict is, by a name that is the same on every pair."""
  if verdict == "tie":
    return "tie"
  return "first" if verdict == pair[1] else "second"


def _rows(path: pathlib.Path) -> list[tuple[str, Mapping[str, Any]]]:
  try:
    text = path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read as text: {error}") from None
  if path.suffix == ".csv":
    lines = csv.DictReader(text.splitlines())
    return [(f"{path} line {n}", row) for n, row in enumerate(lines, start=2)]
  if path.suffix == ".jsonl":
    return [
      (f"{path} line {n}", _json(line, f"{path} line {n}"))
      for n, line in enumerate(text.splitlines(), start=1)
      if line.strip()
    ]
  found = _json(text, str(path))
  if isinstance(found, dict):
    found = found.get("ratings")
  if not isinstance(found, list):
    raise UserError(
      f"{path} is neither a list of ratings nor an object with 'ratings'"
    )
  return [(f"{path} rating {n}", row) for n, row in enumerate(found, start=1)]


def _json(text: str, where: str) -> Any:
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise UserError(f"{where} is not JSON: {error}") from None


def _rating(row: Any, where: str) -> Rating:
  if not isinstance(row, Mapping):
    raise UserError(f"{where} is no rating: {row!r:.200}")
  for name in NEEDED:
    if not isinstance(row.get(name), str | list) or not row[name]:
      keys = [str(key) for key in row]
      raise UserError(f"{where} has no {name!r}{suggest(name, keys)}")
  preferred = row["preferred"]
  if preferred not in VERDICTS:
    raise UserError(
      f"{where}: 'preferred' is {preferred!r:.100}, not left, right or tie"
    )
  prompt, left, right = (_digest(row[name]) for name in NEEDED[:3])
  if left == right:
    raise UserError(f"{where}: 'left' and 'right' are one text")
  return Rating(prompt, left, right, preferred, str(row.get("rater") or ""))


def _digest(value: Any) -> str:
  if isinstance(value, str) and _DIGEST.fullmatch(value):
    return value
  if isinstance(value, str):
    return prompt_id(value)
  turns = [
    [turn.get("role"), turn.get("content")] if isinstance(turn, dict) else turn
    for turn in value
  ]
  return prompt_id(turns)
