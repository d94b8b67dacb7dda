"""A row of a view, and rows of groups."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Prompt, Record, count
from offalign.data.views import feedback
from offalign.data.views.feedback import Notes, Scored
from offalign.data.views.provenance import Origin, origins
from offalign.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """A prompt and K completions; one row of a `Batch`.

  Attributes:
    prompt: text or conversation.
    completions: K; in a pair the chosen one first.
    rewards: K, or None where neither known nor needed.
    labels: K, or None.
    sources: K, each "file:row", see `feedback.Scored`.
    behaviour_logps: K, or None where not logged or not needed.
    gap: of a pair, its margin, for losses that read margins; else None.
    rewards_are_margins: whether `rewards` are a pair's logged margin and 0,
      in place of rewards that were not logged; they are not normalised.
    marks: K, what is known of the parts of each; None where not needed.
  """

  prompt: Prompt
  completions: tuple[str, ...]
  rewards: tuple[float, ...] | None
  labels: tuple[bool, ...] | None
  sources: tuple[str, ...]
  behaviour_logps: tuple[float, ...] | None = None
  gap: float | None = None
  rewards_are_margins: bool = False
  marks: tuple[Marks, ...] | None = None

  @property
  def origins(self) -> tuple[tuple[Origin, ...], ...]:
    """Where each of the K completions is from; several places if repeated."""
    return tuple(origins(source) for source in self.sources)

  @property
  def margin(self) -> float | None:
    """Of a pair: the chosen reward less the rejected one, where known.

    It is in the units of the logged rewards, or of the column 'margin'.
    """
    if self.gap is not None:
      return self.gap
    if self.rewards is None or len(self.rewards) != 2:
      return None
    return self.rewards[0] - self.rewards[1]


@dataclasses.dataclass(frozen=True)
class Needs:
  """Which columns of the data a loss reads."""

  rewards: bool
  labels: bool
  behaviour_logps: bool = False
  margins: bool = False
  behaviour_token_logps: bool = False
  token_weights: bool = False
  token_rewards: bool = False

  @property
  def marks(self) -> bool:
    """Whether it reads what is known of the parts of completions."""
    return self.token_weights or self.token_rewards

  @classmethod
  def of(cls, needs: Iterable[str]) -> "Needs":
    """Needs of a loss that declares these columns or means of them."""
    found = set(needs)
    return cls(
      rewards=bool({"rewards", "reward_mean"} & found),
      labels=bool({"labels", "desirable_length_mean"} & found),
      behaviour_logps=bool(
        {"behaviour_logps", "behaviour_token_logps"} & found
      ),
      behaviour_token_logps="behaviour_token_logps" in found,
      margins="margins" in found,
      token_weights="token_weights" in found,
      token_rewards="token_rewards" in found,
    )


def check_feedback(records: Sequence[Record], what: str) -> None:
  """Refuses data without feedback, for losses that compare completions."""
  first = records[0]
  if not first.ranked and first.rewards is None and first.labels is None:
    raise UserError(f"this loss takes {what}, and {feedback.NO_FEEDBACK}")


def row_of(items: Sequence[Scored]) -> Row:
  """Makes a row of K completions of one prompt."""
  first = items[0]
  logged = [item.behaviour_logp for item in items]
  known = [item.marks for item in items]
  return Row(
    first.prompt,
    tuple(item.completion for item in items),
    None if first.reward is None else tuple(i.value for i in items),
    None if first.label is None else tuple(bool(i.label) for i in items),
    tuple(item.source for item in items),
    None if None in logged else tuple(x for x in logged if x is not None),
    marks=None if None in known else tuple(x for x in known if x is not None),
  )


def make_groups(
  items: list[Scored], group_size: int | None, notes: Notes
) -> list[Row]:
  """Makes rows of K completions; cuts long lists into several rows."""
  groups = feedback.group_by_prompt(items)
  sizes = collections.Counter(len(group) for group in groups)
  size = group_size or max(
    (k for k in sizes if k > 1), key=lambda k: (sizes[k], k), default=2
  )
  rows = []
  few = few_completions = left_over = cut = 0
  for group in groups:
    if len(group) < size:
      few += 1
      few_completions += len(group)
      continue
    whole = len(group) // size
    cut += whole > 1
    left_over += len(group) - whole * size
    rows += [row_of(group[i * size : (i + 1) * size]) for i in range(whole)]
  why = "given" if group_size else "the most common number"
  notes.add(f"groups of {size} completions ({why})", group_size=size)
  if few:
    notes.add(
      f"{count(few, 'prompt')} left out, with "
      f"{count(few_completions, 'completion')}: fewer than {size} each",
      prompts_left_out=few,
      completions_left_out=few_completions,
    )
  if cut:
    notes.add(
      f"{count(cut, 'prompt')} with more completions: cut into several groups",
      prompts_cut=cut,
    )
  if left_over:
    notes.add(
      f"{count(left_over, 'completion')} left over after groups of {size}: "
      "left out",
      completions_left_over=left_over,
    )
  return rows
