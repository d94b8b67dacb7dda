"""Many questions at a time: threads that share a client, in order."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TypeVar

import tqdm

from offalign.endpoints.client import Client, Halted

_SECONDS = 0.5  # between two looks whether to stop

Q = TypeVar("Q")
A = TypeVar("A")


def ask_all(
  client: Client,
  one: Callable[[Q], A],
  questions: Sequence[Q],
  *,
  workers: int,
  desc: str,
  unit: str,
  watch: Callable[[], None] = lambda: None,
) -> list[A]:
  """Asks all questions, and waits for the answers.

  Args:
    client: what `one` calls by; where one question ends all, the waits of the
      others end.
    one: asks a question; called in threads.
    questions: n.
    workers: questions at a time.
    desc: of the progress bar, which is shown where it takes long.
    unit: of it.
    watch: called now and then; what it raises ends the asking.

  Returns:
    The n answers, in the order of the questions.

  Raises:
    Exception: what the first `one` to fail raises, or `watch`.
  """
  client.begin()
  fatal: list[BaseException] = []

  def watched(question: Q) -> A:
    try:
      return one(question)
    except Halted:
      raise
    except BaseException as error:
      fatal.append(error)
      client.halt()  # here, before this thread takes another question
      raise

  pool = concurrent.futures.ThreadPoolExecutor(workers)
  try:
    waiting = [pool.submit(watched, question) for question in questions]
    # A bar where it takes long and a terminal shows it.
    with tqdm.tqdm(
      total=len(waiting),
      desc=desc,
      unit=unit,
      disable=None,
      delay=1,
      leave=False,
    ) as bar:
      left = set(waiting)
      while left:
        watch()
        done, left = concurrent.futures.wait(
          left,
          timeout=_SECONDS,
          return_when=concurrent.futures.FIRST_EXCEPTION,
        )
        bar.update(len(done))
        if fatal:
          raise fatal[0]
    return [future.result() for future in waiting]
  except BaseException:
    client.halt()
    raise
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
