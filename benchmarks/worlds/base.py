"""What a world is: prompts, demonstrations of mixed quality, a gold reward.

`ops` has all of it in numpy of its own; a `Written` world says what it means
for one prompt, in plain Python, and gets the arrays from here.
"""

import abc
import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import ops_sizes as sizes
from benchmarks.worlds import streams
from offalign.errors import UserError
from offalign.leaderboard import Sample

PAD, SEP, EOS = range(3)
"""Padding, the end of a prompt, the end of a completion: in every world."""

_SHOWN = 6
DIGITS = 9
"""Rewards are rounded to this many, so that equal rewards are equal floats."""


@dataclasses.dataclass(frozen=True)
class Given:
  """A log that was not sampled from the policy.

  Attributes:
    prompts: int32 [n, prompt_width].
    tokens: int32 [n, K, completion_width].
    mask: bool [n, K, completion_width].
    rewards: float64 [n, K].
  """

  prompts: np.ndarray
  tokens: np.ndarray
  mask: np.ndarray
  rewards: np.ndarray


class World(abc.ABC):
  """A world of prompts of one width and completions of at most another.

  Attributes:
    name: as `Row.track` and --world have it.
    vocab: names of all tokens, by id; the first three are PAD, SEP and EOS.
    prompt_width: tokens of a prompt, PADs inside and SEP at the end.
    completion_width: tokens of a completion at most, EOS included.
    k: completions of a prompt in a log that the world gives; None where logs
      are sampled, as many as the setting asks for.
    scenario: as `Row.scenario` begins; "" where it is the offset's level.
    words: the flags that ask for the world; () for its name alone.
    scale: what a board of this world is about; "" for what all others are.
  """

  name: str
  vocab: tuple[str, ...]
  prompt_width: int
  completion_width: int
  k: int | None = None
  scenario: str = ""
  words: tuple[str, ...] = ()
  scale: str = ""

  @property
  def sft_steps(self) -> int:
    """Updates of the fine-tuning."""
    return sizes.SFT_STEPS

  @property
  def remarks(self) -> list[str]:
    """What a board of this world has to say; nothing for most."""
    return []

  def given(self, seed: int) -> Given | None:
    """A log of feedback that is not sampled from the policy; None: sample."""
    return None

  @abc.abstractmethod
  def prompts(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws n prompts: int32 [n, prompt_width]."""

  @abc.abstractmethod
  def demonstrations(
    self, prompts: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """One demonstration of each prompt, by demonstrators of mixed quality.

    Returns:
      int32 tokens [n, completion_width], PAD after the end, and the bool mask
      of the tokens that count, EOS included.
    """

  @abc.abstractmethod
  def gold_reward(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """The gold reward of completions; equal rewards are equal floats.

    Args:
      prompts: [n, prompt_width].
      tokens: [n, T] or [n, K, T].
      mask: like `tokens`, True on the completion's tokens, EOS included.

    Returns:
      float64 [n] or [n, K].
    """

  @abc.abstractmethod
  def exact(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray | None:
    """Whether the answer is right; shapes as `gold_reward`, bool.

    None where nothing is right or wrong.
    """

  @abc.abstractmethod
  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """A part of the logged reward that the prompt alone decides: [n] -> [n]."""

  def generator(self, stream: str, seed: int) -> np.random.Generator:
    """The generator of one stream of one seed, independent of all others.

    Args:
      stream: one of `streams.STREAMS`.
      seed: >= 0.

    Raises:
      UserError: for a stream that does not exist.
    """
    streams.number(stream)
    name = f"{self.name}/{stream}".encode()
    return np.random.default_rng([zlib.crc32(name), seed])

  def prompts_of(
    self, stream: str, n: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Draws n of the prompts that are a stream's own; `streams.prompts_of`."""
    return streams.prompts_of(self.prompts, stream, n, rng)

  def text(self, tokens: Sequence[int]) -> str:
    """Tokens as words, PADs left out."""
    return " ".join(self.vocab[int(t)] for t in tokens if t != PAD)

  def samples(
    self,
    prompts: np.ndarray,
    tokens: np.ndarray,
    mask: np.ndarray,
    gold: np.ndarray,
  ) -> list[Sample]:
    """The completions of the first few prompts, for the report.

    Args:
      prompts: int32 [n, prompt_width].
      tokens: int32 [n, completion_width].
      mask: like `tokens`.
      gold: [n] rewards.
    """
    return [
      Sample(
        self.text(prompts[i][:-1]),
        self.text(tokens[i][mask[i]]),
        round(float(gold[i]), 3),
      )
      for i in range(min(_SHOWN, len(prompts)))
    ]


@dataclasses.dataclass(frozen=True)
class Style:
  """How one demonstrator writes.

  Attributes:
    name: of the demonstrator.
    share: of the demonstrations.
  """

  name: str
  share: float


class Written(World):
  """A world that says what it means for one prompt, in plain Python.

  Attributes:
    styles: the demonstrators.
  """

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
