"""Statistics by prompt: completions a prompt, variance within, ties."""

import collections
import dataclasses

import numpy as np

from offalign.audit.scan.entries import distinct, runs
from offalign.audit.statistics.streaming import Moments, Sample


@dataclasses.dataclass
class Groups:
  """Sums over prompts, each with all of its completions.

  "Value" is the reward, or the label as 0 or 1 where there are no rewards. A
  completion that pairs repeat counts once here. A prompt is open where two of
  its completions have different values: there alone can a method learn which
  of them is better.

  Attributes:
    prompts: how many distinct prompts.
    sizes: K -> prompts with K (distinct, of pairs) completions.
    n: completions with a value.
    valued: prompts that have a completion with a value.
    several: valued prompts with two completions or more.
    open: prompts of `several` whose completions have different values.
    between: sum of squared distances of the prompts' means from the mean.
    within: sum of squared distances of the values from their prompt's mean.
    squared_sizes: sum of K**2.
    pairs: pairs of completions of one prompt.
    ties: pairs whose two values are equal.
    in_open: completions of open prompts.
    flipped: completions of open prompts that lie above the data's mean and not
      above their prompt's, or the reverse.
    one_sided: open prompts with no completion, or every one, above the data's
      mean.
    best: sum, over prompts with several completions, of the largest value.
    middle: sum of the median value over the same prompts.
    spread: sum of the standard deviation (over K) over the same prompts.
    least_spread: the smallest standard deviation above 0.
    length: sums of squares and products within prompts: words**2,
      words * value, value**2.
    prompt_words: a sample over distinct prompts.
    means: a sample over prompts with several completions of the mean value.
  """

  prompts: int = 0
  sizes: collections.Counter[int] = dataclasses.field(
    default_factory=collections.Counter
  )
  n: int = 0
  valued: int = 0
  several: int = 0
  open: int = 0
  between: float = 0.0
  within: float = 0.0
  squared_sizes: float = 0.0
  pairs: int = 0
  ties: int = 0
  in_open: int = 0
  flipped: int = 0
  one_sided: int = 0
  best: float = 0.0
  middle: float = 0.0
  spread: float = 0.0
  least_spread: float = float("inf")
  length: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
  prompt_words: Sample = dataclasses.field(
    default_factory=lambda: Sample(np.dtype("u4"), seed=2)
  )
  means: Sample = dataclasses.field(
    default_factory=lambda: Sample(np.dtype("f8"), seed=3)
  )

  def add(self, part: np.ndarray, paired: bool, values: Moments) -> None:
    """Adds a part: `ENTRY` rows of whole prompts.

    Args:
      part: [N].
      paired: whether the completions come from pairs.
      values: of the whole data, which the mean is taken from.
    """
    if paired:
      part = distinct(part)
    part = part[np.argsort(part["prompt"], kind="stable")]
    starts, sizes = runs(part["prompt"])
    self.prompts += len(starts)
    self.prompt_words.add(part["prompt_words"][starts])
    for size, number in zip(*np.unique(sizes, return_counts=True), strict=True):
      self.sizes[int(size)] += int(number)
    part = part[~np.isnan(part["value"])]
    if len(part):
      self._add_values(part, values.mean)

  def _add_values(self, part: np.ndarray, mean: float) -> None:
    part = part[np.lexsort((part["value"], part["prompt"]))]
    starts, sizes = runs(part["prompt"])
    ends = starts + sizes - 1
    value = part["value"] - mean
    means = np.add.reduceat(value, starts) / sizes
    # As in `feedback.mean`: rounding must not part equal values.
    means = np.clip(means, value[starts], value[ends])
    apart = value - np.repeat(means, sizes)
    squares = np.add.reduceat(apart**2, starts)
    self.means.add(means[sizes > 1] + mean)
    self.n += len(part)
    self.valued += len(starts)
    self.within += float(squares.sum())
    self.between += float((sizes * means**2).sum())
    self.squared_sizes += float((sizes.astype(np.float64) ** 2).sum())

    is_open = value[starts] < value[ends]
    inside = np.repeat(is_open, sizes)
    above = value > 0
    self.open += int(is_open.sum())
    self.in_open += int(inside.sum())
    self.flipped += int((inside & (above != (apart > 0))).sum())
    highs = np.add.reduceat(above.astype(np.int64), starts)
    self.one_sided += int((is_open & ((highs == 0) | (highs == sizes))).sum())

    _, equal = runs(part["prompt"], part["value"])
    self.pairs += int((sizes * (sizes - 1) // 2).sum())
    self.ties += int((equal * (equal - 1) // 2).sum())
    self._add_several(part, starts, sizes, apart, squares)

  def _add_several(
    self,
    part: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    apart: np.ndarray,
    squares: np.ndarray,
  ) -> None:
    """Adds what prompts with several completions have alone."""
    several = sizes > 1
    if not several.any():
      return
    self.several += int(several.sum())
    raw = part["value"]
    first, size = starts[several], sizes[several]
    self.best += float(raw[first + size - 1].sum())
    middle = raw[first + size // 2] + raw[first + (size - 1) // 2]
    self.middle += float(middle.sum() / 2)
    spread = np.sqrt(squares[several] / size)
    self.spread += float(spread.sum())
    if (spread > 0).any():
      least = float(spread[spread > 0].min())
      self.least_spread = min(self.least_spread, least)
    words = part["words"].astype(np.float64)
    words -= np.repeat(np.add.reduceat(words, starts) / sizes, sizes)
    self.length += [(words**2).sum(), words @ apart, squares.sum()]

  @property
  def share_between(self) -> float | None:
    """Share of the values' variance that is between prompts, in [0, 1].

    The intraclass correlation by analysis of variance, ICC(1): it is 0 where
    prompts differ by no more than chance makes the means of K values differ,
    while the plain ratio would still be about 1 / K. None where no prompt
    has several completions, or all values are the same.
    """
    free = self.n - self.valued
    if free < 1 or self.valued < 2 or self.between + self.within == 0:
      return None
    inside = self.within / free
    across = self.between / (self.valued - 1)
    size = (self.n - self.squared_sizes / self.n) / (self.valued - 1)
    share = (across - inside) / (across + (size - 1) * inside)
    return float(min(max(share, 0.0), 1.0))

  @property
  def share_error(self) -> float | None:
    """Standard error of `share_between` (Fisher's, for equal K)."""
    share = self.share_between
    if share is None or self.valued < 3:
      return None
    k = self.n / self.valued
    # valued >= 3 prompts, some of several completions: k > 1.
    scale = (2 / (k * (k - 1) * (self.valued - 1))) ** 0.5
    return float(scale * (1 - share) * (1 + (k - 1) * share))

  @property
  def length_correlation(self) -> float | None:
    """Correlation of words and values within prompts; None without variance."""
    words, both, values = self.length
    if words <= 0 or values <= 0:
      return None
    return float(both / (words * values) ** 0.5)
