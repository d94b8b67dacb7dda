"""The world `sums`: add and subtract, with credit for every right digit.

A prompt is [a's digits, op, b's digits, PAD .., SEP] with a and b of one or two
digits, a >= b where b is taken from a. The answer's digits come most
significant first; a good answer has no leading zero, no ABOUT, and ends with
CHECK.

  R = share of places, counted from the right, whose digit is right (of the
      longer of the two numbers) + .5 [the number is right]
      + .25 [ends with CHECK] - .25 [leading zero] - .15 #ABOUT - .5 [no EOS]
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.worlds.base import Style, Written

PLUS, MINUS, ABOUT, CHECK = range(3, 7)
ZERO = 7
_LARGEST = 99


def digits(number: int) -> list[int]:
  """A number's digits as tokens, most significant first."""
  return [ZERO + int(c) for c in str(number)]


def parts(prompt: Sequence[int]) -> tuple[int, int, int]:
  """(a, op, b) of a prompt."""
  at = next(i for i, token in enumerate(prompt) if token in (PLUS, MINUS))
  a, b = (
    int("".join(str(token - ZERO) for token in side))
    for side in (prompt[:at], prompt[at + 1 :])
  )
  return a, prompt[at], b


def answer(prompt: Sequence[int]) -> int:
  """The sum or the difference."""
  a, op, b = parts(prompt)
  return a + b if op == PLUS else a - b


def without_carry(prompt: Sequence[int]) -> int:
  """The answer place by place, the carry forgotten: a common mistake."""
  a, op, b = parts(prompt)
  total = 0
  for place in (1, 10):
    x, y = a // place % 10, b // place % 10
    total += (x + y if op == PLUS else x - y) % 10 * place
  return total


class Sums(Written):
  """See the module's text."""

  name = "sums"
  vocab = (
    *("PAD", "SEP", "EOS", "+", "-", "ABOUT", "CHECK"),
    *(str(i) for i in range(10)),
  )
  prompt_width = 5 + 1
  completion_width = 7  # ABOUT, three digits or four, CHECK, EOS
  styles = (
    Style("hasty", 0.35),
    Style("vague", 0.25),
    Style("padded", 0.2),
    Style("careful", 0.2),
  )

  def ask(self, rng: np.random.Generator) -> list[int]:
    """One prompt: op uniform, numbers uniform in 1 .. 99."""
    op = int(rng.choice((PLUS, MINUS)))
    a, b = (int(x) for x in rng.integers(1, _LARGEST + 1, 2))
    if op == MINUS and a < b:
      a, b = b, a
    return [*digits(a), op, *digits(b)]

  def demonstrate(
    self, prompt: Sequence[int], style: str, rng: np.random.Generator
  ) -> list[int]:
    """One demonstration.

    hasty forgets the carry half of the time; vague is off by one or two and
    says ABOUT; padded writes a leading zero; careful ends with CHECK.
    """
    number = answer(prompt)
    if style == "hasty" and rng.random() < 0.5:
      number = without_carry(prompt)
    if style == "vague" and rng.random() < 0.5:
      number = max(number + int(rng.choice((-2, -1, 1, 2))), 0)
    if rng.random() < 0.04:
      number = int(rng.integers(0, 2 * _LARGEST + 1))
    said = digits(number)
    if style == "padded":
      said = [ZERO, *said]
    if style == "vague":
      said = [ABOUT, *said]
    ends = {"hasty": 0.05, "vague": 0.05, "padded": 0.3, "careful": 0.8}
    if rng.random() < ends[style]:
      said.append(CHECK)
    return said

  def judge(
    self, prompt: Sequence[int], said: Sequence[int], ended: bool
  ) -> float:
    """The gold reward; see the module's text."""
    wanted, got = digits(answer(prompt)), [c for c in said if c >= ZERO]
    size = max(len(wanted), len(got))
    pairs = zip(reversed(wanted), reversed(got), strict=False)
    return (
      sum(x == y for x, y in pairs) / size
      + 0.5 * (got == wanted)
      + 0.25 * (bool(said) and ended and said[-1] == CHECK)
      - 0.25 * (len(got) > 1 and got[0] == ZERO)
      - 0.15 * said.count(ABOUT)
      - 0.5 * (not ended)
    )

  def right(self, prompt: Sequence[int], said: Sequence[int]) -> bool:
    """Whether the digits are the number, without a leading zero."""
    return [c for c in said if c >= ZERO] == digits(answer(prompt))

  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """By the op and the first digit of a."""
    minus = (prompts == MINUS).any(axis=1)
    return level * (2 * minus - 1 + (prompts[:, 0] - ZERO - 5) / 4)
