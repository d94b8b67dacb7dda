"""What a world is: prompts, demonstrations of mixed quality, a gold reward.

`ops` has all of it in numpy of its own (`benchmarks.ops_world`); further
worlds say what they mean for one prompt, in plain Python, and get the arrays
from here.
"""

import abc
import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from offalign.errors import UserError

PAD, SEP, EOS = range(3)
"""Padding, the end of a prompt, the end of a completion: in every world."""

DIGITS = 9
"""Rewards are rounded to this many, so that equal rewards are equal floats."""


@dataclasses.dataclass(frozen=True)
class Style:
  """How one demonstrator writes.

  Attributes:
    name: of the demonstrator.
    share: of the demonstrations.
  """

  name: str
  share: float


class World(abc.ABC):
  """A world of prompts of one width and completions of at most another.

  Attributes:
    name: as `Row.track` and the flags have it.
    vocab: names of all tokens, by id; the first three are PAD, SEP and EOS.
    prompt_width: tokens of a prompt, PADs inside and SEP at the end.
    completion_width: tokens of a completion at most, EOS included.
    styles: the demonstrators.
  """

  name: str
  vocab: tuple[str, ...]
  prompt_width: int
  completion_width: int
  styles: tuple[Style, ...]

  @abc.abstractmethod
  def ask(self, rng: np.random.Generator) -> list[int]:
    """One prompt, without PADs and SEP."""

  @abc.abstractmethod
  def demonstrate(
    self, prompt: Sequence[int], style: str, rng: np.random.Generator
  ) -> list[int]:
    """One demonstration, without EOS."""

  @abc.abstractmethod
  def judge(
    self, prompt: Sequence[int], said: Sequence[int], ended: bool
  ) -> float:
    """The gold reward of what was said before EOS; `ended` = there was one."""

  @abc.abstractmethod
  def right(self, prompt: Sequence[int], said: Sequence[int]) -> bool:
    """Whether the answer itself, without its manner, is right."""

  @abc.abstractmethod
  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """A part of the logged reward that the prompt alone decides: [n] -> [n]."""

  def generator(self, stream: str, seed: int) -> np.random.Generator:
    """The generator of one stream of one seed, independent of all others."""
    name = f"{self.name}/{stream}".encode()
    return np.random.default_rng([zlib.crc32(name), seed])

  def prompts(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws n prompts: int32 [n, prompt_width]."""
    out = np.full((n, self.prompt_width), PAD, np.int32)
    for row in out:
      asked = self.ask(rng)
      row[: len(asked)] = asked
    out[:, -1] = SEP
    return out

  def demonstrations(
    self, prompts: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """One demonstration of each prompt, by demonstrators drawn by share.

    Returns:
      int32 tokens [n, completion_width], PAD after the end, and the bool mask
      of the tokens that count, EOS included. What is longer is cut, as a
      sampler would cut it, and has no EOS.
    """
    shares = [style.share for style in self.styles]
    drawn = rng.choice(len(self.styles), len(prompts), p=shares)
    tokens = np.full((len(prompts), self.completion_width), PAD, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, kept, prompt, style in zip(
      tokens, mask, prompts, drawn, strict=True
    ):
      said = self.demonstrate(self.asked(prompt), self.styles[style].name, rng)
      whole = [*said, EOS][: self.completion_width]
      row[: len(whole)] = whole
      kept[: len(whole)] = True
    return tokens, mask

  def gold_reward(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """The gold reward of completions.

    Args:
      prompts: [n, prompt_width].
      tokens: [n, T] or [n, K, T].
      mask: like `tokens`, True on the completion's tokens, EOS included.

    Returns:
      float64 [n] or [n, K].
    """
    return self._each(prompts, tokens, mask, self._judged, float)

  def exact(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """Whether the answer is right; shapes as `gold_reward`, bool."""
    return self._each(
      prompts, tokens, mask, lambda p, said, _: self.right(p, said), bool
    )

  def text(self, tokens: Sequence[int]) -> str:
    """Tokens as words, PADs left out."""
    return " ".join(self.vocab[token] for token in tokens if token != PAD)

  @staticmethod
  def asked(prompt: Sequence[int]) -> list[int]:
    """A prompt's own tokens: without PADs and SEP."""
    return [int(token) for token in prompt if token not in (PAD, SEP)]

  def _judged(self, prompt: list[int], said: list[int], ended: bool) -> float:
    return round(self.judge(prompt, said, ended), DIGITS)

  def _each(
    self,
    prompts: np.ndarray,
    tokens: np.ndarray,
    mask: np.ndarray,
    of: Callable[[list[int], list[int], bool], float | bool],
    dtype: type,
  ) -> np.ndarray:
    if tokens.shape[-1] > self.completion_width:
      raise UserError(
        f"completions of {self.name} are at most {self.completion_width} "
        f"tokens wide, not {tokens.shape[-1]}"
      )
    shape, width = tokens.shape[:-1], tokens.shape[-1]
    each = tokens.size // (len(prompts) * width)
    flat, kept = tokens.reshape(-1, width), mask.reshape(-1, width)
    asked = [self.asked(prompt) for prompt in prompts]
    found = []
    for i, (row, counts) in enumerate(zip(flat, kept, strict=True)):
      said = [int(token) for token in row[counts]]
      ended = EOS in said
      before = said[: said.index(EOS)] if ended else said
      found.append(of(asked[i // each], before, ended))
    return np.array(found, dtype).reshape(shape)


def distance(a: Sequence[int], b: Sequence[int]) -> int:
  """The least insertions, deletions and replacements (Levenshtein)."""
  row = list(range(len(b) + 1))
  for i, left in enumerate(a, 1):
    before, row[0] = row[0], i
    for j, right in enumerate(b, 1):
      before, row[j] = (
        row[j],
        min(row[j] + 1, row[j - 1] + 1, before + (left != right)),
      )
  return row[-1]
