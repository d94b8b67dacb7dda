"""Streams of randomness, and which prompts are whose, in every world."""

from collections.abc import Callable

import numpy as np

from offalign.errors import UserError, suggest

STREAMS = ("sft", "train", "validation", "test", "labels", "noise")
"""What random numbers are drawn for; each has a stream of its own."""

PARTS = {"sft": 45, "train": 30, "validation": 10, "test": 15}
"""Hundredths of all prompts that a stream may draw: no two share one."""


def number(stream: str) -> int:
  """The place of a stream in `STREAMS`.

  Raises:
    UserError: for a stream that does not exist.
  """
  if stream not in STREAMS:
    raise UserError(
      f"no random stream {stream!r}{suggest(stream, STREAMS)} "
      f"(streams: {', '.join(STREAMS)})"
    )
  return STREAMS.index(stream)


def prompts_of(
  draw: Callable[[int, np.random.Generator], np.ndarray],
  stream: str,
  n: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Draws n of the prompts that are a stream's own; int32 [n, width].

  Every prompt belongs to one of the streams of `PARTS`, by a hash of it, so
  that no policy is judged on a prompt that it, or its reference, was trained
  on.

  Args:
    draw: (n, rng) -> n prompts of any stream.
    stream: which of them.
    n: how many, with repeats as chance has it.
    rng: where the randomness comes from.

  Raises:
    UserError: for a stream without prompts.
  """
  if stream not in PARTS:
    raise UserError(
      f"no prompts belong to {stream!r}{suggest(stream, PARTS)} "
      f"(streams: {', '.join(PARTS)})"
    )
  found = draw(max(2 * n, 64), rng)
  found = found[stream_of(found) == stream]
  while len(found) < n:
    drawn = draw(max(2 * n, 64), rng)
    found = np.concatenate([found, drawn[stream_of(drawn) == stream]])
  return found[:n]


def stream_of(prompts: np.ndarray) -> np.ndarray:
  """The stream that each prompt belongs to: [n, width] -> [n] of names.

  Of more than twelve tokens, the last twelve decide.
  """
  key = np.zeros(len(prompts), np.uint64)
  for column in prompts.T.astype(np.uint64):
    key = key * np.uint64(32) + column
  # The finaliser of splitmix64: each bit of the prompt moves half of them.
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
  hundredth = ((key ^ (key >> np.uint64(31))) % np.uint64(100)).astype(int)
  ends = np.cumsum(list(PARTS.values()))
  return np.array(list(PARTS))[np.searchsorted(ends, hundredth, side="right")]
