"""Tell why sequences became equal, and the least limits that part them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from offalign.data.reading.records import Prompt
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import option

_AT_ONCE = 256  # groups that are tokenised together

Cut = Callable[[np.ndarray, int], np.ndarray]
"""(all tokens of a prompt, limit) -> those that are kept."""


@dataclasses.dataclass(frozen=True)
class Whole:
  """A prompt and a completion of it as tokens, before any limit.

  Attributes:
    prompt: int32.
    completion: int32.
    by_template: whether a chat template wrote them.
    cut: cuts the prompt.
  """

  prompt: np.ndarray
  completion: np.ndarray
  by_template: bool
  cut: Cut


@dataclasses.dataclass
class Causes:
  """Why sequences of different text are equal, over several groups of them.

  Attributes:
    groups: how many were looked at.
    template: in how many the chat template drops what differs.
    tokenizer: in how many the tokenizer makes the same tokens of it.
    cut_prompts: in how many a limit cuts it off a prompt.
    cut_completions: in how many a limit cuts it off a completion.
    max_prompt: the least limit under which prompts that differ stay so; 0
      where none was cut to be equal.
    max_completion: likewise of completions.
  """

  groups: int = 0
  template: int = 0
  tokenizer: int = 0
  cut_prompts: int = 0
  cut_completions: int = 0
  max_prompt: int = 0
  max_completion: int = 0

  def add(self, members: Sequence[Whole]) -> None:
    """Adds sequences of different texts that a limit or less made equal."""
    self.groups += 1
    by_completion: dict[bytes, list[Whole]] = {}
    for member in members:
      by_completion.setdefault(member.completion.tobytes(), []).append(member)
    if len(by_completion) > 1:
      found = [each[0].completion for each in by_completion.values()]
      self.cut_completions += 1
      self.max_completion = max(self.max_completion, _least(found))
    cut = same = False
    for alike in by_completion.values():
      prompts = {member.prompt.tobytes(): member for member in alike}
      same = same or len(prompts) < len(alike)
      if len(prompts) > 1:
        cut = True
        least = _least_prompt(list(prompts.values()))
        self.max_prompt = max(self.max_prompt, least)
    self.cut_prompts += cut
    self.template += same and members[0].by_template
    self.tokenizer += same and not members[0].by_template

  def sentence(
    self,
    max_prompt: int | None,
    max_completion: int | None,
    *,
    is_sample: bool = False,
  ) -> str:
    """The causes, and what would keep the texts apart.

    Args:
      max_prompt: the limit that was set.
      max_completion: the limit that was set.
      is_sample: whether there are more groups than were looked at.
    """
    said = []
    for name, hit, limit, least in (
      (
        "max_completion",
        self.cut_completions,
        max_completion,
        self.max_completion,
      ),
      ("max_prompt", self.cut_prompts, max_prompt, self.max_prompt),
    ):
      if hit:
        said.append(
          f"{option(name, limit)} cuts off what differs{self._of(hit)}, and "
          f"{option(name, least)} is the least that keeps "
          f"{'it' if hit == self.groups else 'that'}"
        )
    for who, hit, does in (
      ("the chat template", self.template, "drops what differs"),
      ("the tokenizer", self.tokenizer, "makes the same tokens of all of it"),
    ):
      if hit:
        said.append(f"{who} {does}{self._of(hit)}, and no limit keeps it apart")
    if is_sample:
      said.append(f"told from the first {self.groups:,}")
    return "; ".join(said)

  def _of(self, hit: int) -> str:
    return "" if hit == self.groups else f" in {hit:,} of {self.groups:,}"


def causes(
  tokenizer: Tokenizer, groups: Iterable[Sequence[tuple[Prompt, str]]]
) -> Causes:
  """Counts why the members of each group are equal.

  Args:
    tokenizer: which made them so.
    groups: each some prompts with a completion.
  """
  found, rest = Causes(), iter(groups)
  while chunk := list(itertools.islice(rest, _AT_ONCE)):
    turns = [turn for group in chunk for turn in group]
    made = iter(_whole(tokenizer, turns))
    for group in chunk:
      found.add([next(made) for _ in group])
  return found


def _whole(
  tokenizer: Tokenizer, turns: Sequence[tuple[Prompt, str]]
) -> list[Whole]:
  """Tokenises prompts with a completion each, without a limit."""
  found = tokenizer.encode_rows(
    [prompt for prompt, _ in turns],
    [(i, text) for i, (_, text) in enumerate(turns)],
  )
  return [
    Whole(
      x,
      y,
      tokenizer.has_template and not isinstance(prompt, str),
      functools.partial(_cut, tokenizer, prompt),
    )
    for (prompt, _), x, y in zip(
      turns, found.prompts, found.completions, strict=True
    )
  ]


def _cut(
  tokenizer: Tokenizer, prompt: Prompt, tokens: np.ndarray, limit: int
) -> np.ndarray:
  return tokenizer.cut_prompt(prompt, tokens, limit)


def _least(sequences: Sequence[np.ndarray]) -> int:
  """The least number of first tokens by which all of them differ."""
  ordered = sorted(sequences, key=_ordering)
  return 1 + max(
    _shared(one, other) for one, other in itertools.pairwise(ordered)
  )


def _least_prompt(members: Sequence[Whole]) -> int:
  """The least number of last tokens by which all prompts differ."""
  ordered = sorted(members, key=lambda member: _ordering(member.prompt[::-1]))
  least = 1
  for one, other in itertools.pairwise(ordered):
    # What stands before the text survives a cut and takes room.
    limit = 1 + max(least - 1, _shared(one.prompt[::-1], other.prompt[::-1]))
    longest = max(len(one.prompt), len(other.prompt))
    while limit < longest and np.array_equal(
      one.cut(one.prompt, limit), other.cut(other.prompt, limit)
    ):
      limit += 1
    least = max(least, limit)
  return least


def _ordering(tokens: np.ndarray) -> bytes:
  """Sorts as the tokens do, one after another."""
  return tokens.astype(">u4").tobytes()


def _shared(one: np.ndarray, other: np.ndarray) -> int:
  """How many first tokens two sequences share."""
  n = min(len(one), len(other))
  unlike = one[:n] != other[:n]
  return int(np.argmax(unlike)) if unlike.any() else n
