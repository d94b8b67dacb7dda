"""Prefetch: make the batches of the next steps while the devices compute."""

import collections
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

AHEAD = 2
"""Batches that wait on the devices: one that is taken next, and one more for
a host that is now and then late."""

T = TypeVar("T")


class Prefetch(Generic[T]):
  """Makes what each step needs in a thread of its own, a few steps ahead.

  As a context manager it ends the thread.
  """

  def __init__(
    self, make: Callable[[int], T], steps: Iterable[int], ahead: int = AHEAD
  ):
    """Begins with the first steps.

    Args:
      make: step -> what it needs; called in the thread, in order.
      steps: the steps to come.
      ahead: how many are made before the first is taken.
    """
    self._make, self._left = make, iter(steps)
    self._pool = ThreadPoolExecutor(1, "prefetch")
    self._made: collections.deque[Future[T]] = collections.deque()
    for _ in range(ahead):
      self._begin()

  def take(self) -> T:
    """What the next step needs; waits for it, and raises what `make` did.

    Raises:
      IndexError: where no step is left.
    """
    made = self._made.popleft()
    self._begin()
    return made.result()

  def close(self) -> None:
    """Ends the thread; what was made and not taken is dropped."""
    self._made.clear()
    self._pool.shutdown(cancel_futures=True)

  def __enter__(self) -> "Prefetch[T]":
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _begin(self) -> None:
    for step in self._left:
      self._made.append(self._pool.submit(self._make, step))
      break
