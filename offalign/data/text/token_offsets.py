"""Which characters of a completion each of its tokens spells."""

from collections.abc import Callable, Sequence

import numpy as np

_UNKNOWN = "\ufffd"
"""What a decoder writes for the bytes of half a character."""

Decode = Callable[[Sequence[int]], str]


def spelled(ids: Sequence[int], decode: Decode) -> tuple[str, np.ndarray]:
  """The text of tokens, and where in it each of them is.

  Tokens that spell one character together, as those of an emoji do, all have
  the place of that character. Tokens without text, such as the one that ends a
  completion, have an empty place.

  Args:
    ids: T tokens.
    decode: gives the text of some of them.

  Returns:
    text, and int [T, 2], the first character of each and the one behind it.
  """
  said, places = "", np.zeros((len(ids), 2), np.int64)
  # Decoders strip the space before a first token, so one that is known goes
  # before each that is asked.
  known = done = 0
  for t in range(len(ids)):
    before = decode(ids[known:done])
    after = decode(ids[known : t + 1])
    if after.endswith(_UNKNOWN) and t + 1 < len(ids):
      continue
    start = len(said)
    said += after[len(before) :]
    places[done : t + 1] = start, len(said)
    known, done = done, t + 1
  return said, places


def find(text: str, said: str, *, cut: bool, once: bool) -> int | None:
  """Where a text begins in what its tokens spell; None where it is not there.

  White space around it may have been left out, and of tokens that were cut its
  beginning is enough.

  Args:
    text: of the completion.
    said: what its tokens spell, perhaps with more around it.
    cut: whether the tokens go on.
    once: whether it must be there no more than once.
  """
  core = text.strip()
  lead = len(text) - len(text.lstrip())
  if core and core in said and not (once and said.count(core) > 1):
    return said.rindex(core) - lead  # what a template adds goes before it
  if not core or not cut or once:
    return None
  seen = said.rstrip(_UNKNOWN)
  # A letter or two at the end may be anything's beginning.
  for place in range(len(seen) // 2 + 1):
    if core.startswith(seen[place:].rstrip()) and seen[place:].strip():
      return place - lead
  return None
