"""The world `edits`: edit a short string as an instruction says.

A prompt is [op, x, y, c1 .. cn, PAD .., SEP], n in 3 .. 7, of ten letters:
DELETE x, REPLACE x by y, DOUBLE x, or TRIM (the first and the last letter go;
x and y are then NONE, as y is for DELETE and DOUBLE). x stands in the string
once to three times. The answer is the edited string; a good one is in quotes
and has no NOTE.

  R = 1 - distance(letters, answer) / max(lengths)  + .5 [letters = answer]
      + .25 [in quotes] - .2 #NOTE - .5 [no EOS]
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.worlds.base import Style, Written, distance

DELETE, REPLACE, DOUBLE, TRIM, NONE, QUOTE, NOTE = range(3, 10)
FIRST, LETTERS = 10, 10
SHORTEST, LONGEST, MOST = 3, 7, 3


def answer(prompt: Sequence[int], first_only: bool = False) -> list[int]:
  """The edited string.

  Args:
    prompt: [op, x, y, c1 .. cn].
    first_only: edit the first occurrence alone, as a hasty editor does.
  """
  op, x, y, *string = prompt
  if op == TRIM:
    return string[1:] if first_only else string[1:-1]
  made = {DELETE: [], REPLACE: [y], DOUBLE: [x, x]}[op]
  out: list[int] = []
  done = False
  for letter in string:
    if letter == x and not (first_only and done):
      out += made
      done = True
    else:
      out.append(letter)
  return out


class Edits(Written):
  """See the module's text."""

  name = "edits"
  vocab = (
    *("PAD", "SEP", "EOS", "DELETE", "REPLACE", "DOUBLE", "TRIM", "-"),
    *('"', "NOTE"),
    *(chr(ord("a") + i) for i in range(LETTERS)),
  )
  prompt_width = 3 + LONGEST + 1
  completion_width = LONGEST + MOST + 3 + 1  # quotes, a NOTE, EOS
  styles = (
    Style("hasty", 0.35),
    Style("copier", 0.15),
    Style("noting", 0.25),
    Style("careful", 0.25),
  )

  def ask(self, rng: np.random.Generator) -> list[int]:
    """One prompt: op uniform, length uniform, letters uniform."""
    op = int(rng.choice((DELETE, REPLACE, DOUBLE, TRIM)))
    while True:
      size = int(rng.integers(SHORTEST, LONGEST + 1))
      string = [int(c) for c in rng.integers(FIRST, FIRST + LETTERS, size)]
      if op == TRIM:
        return [op, NONE, NONE, *string]
      x = int(rng.choice(string))
      if string.count(x) > MOST or (op == DELETE and string.count(x) == size):
        continue
      y = NONE
      if op == REPLACE:
        y = int(
          rng.choice([c for c in range(FIRST, FIRST + LETTERS) if c != x])
        )
      return [op, x, y, *string]

  def demonstrate(
    self, prompt: Sequence[int], style: str, rng: np.random.Generator
  ) -> list[int]:
    """One demonstration; a letter goes wrong with a chance of the style's."""
    error = {"hasty": 0.08, "copier": 0.02, "noting": 0.06, "careful": 0.02}
    quoted = {"hasty": 0.1, "copier": 0.3, "noting": 0.2, "careful": 0.8}
    string = answer(prompt, first_only=style == "hasty")
    if style == "copier":
      string = list(prompt[3:])
    string = [
      int(rng.integers(FIRST, FIRST + LETTERS))
      if rng.random() < error[style]
      else letter
      for letter in string
    ]
    if rng.random() < quoted[style]:
      string = [QUOTE, *string, QUOTE]
    if style == "noting":
      string = [NOTE, *string]
    return string

  def judge(
    self, prompt: Sequence[int], said: Sequence[int], ended: bool
  ) -> float:
    """The gold reward; see the module's text."""
    wanted, letters = answer(prompt), [c for c in said if c >= FIRST]
    most = max(len(wanted), len(letters), 1)
    body = [c for c in said if c != NOTE]
    quotes = body.count(QUOTE)
    quoted = quotes == 2 and body[0] == QUOTE and body[-1] == QUOTE
    return (
      1
      - distance(letters, wanted) / most
      + 0.5 * (letters == wanted)
      + 0.25 * quoted
      - 0.2 * said.count(NOTE)
      - 0.5 * (not ended)
    )

  def right(self, prompt: Sequence[int], said: Sequence[int]) -> bool:
    """Whether the letters are the edited string."""
    return [c for c in said if c >= FIRST] == answer(prompt)

  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """By the op and the parity of the string's first letter."""
    op = prompts[:, 0] - DELETE
    return level * ((op - 1.5) + ((prompts[:, 3] - FIRST) % 2 - 0.5))
