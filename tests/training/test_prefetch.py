"""Batches that a thread makes ahead of the steps."""

import threading

import pytest

from offalign.training.prefetch import Prefetch


def test_what_is_made_ahead_is_bounded_and_in_order():
  made, go = [], threading.Semaphore(0)

  def make(step):
    made.append((step, threading.current_thread().name))
    go.release()
    return step * 10

  with Prefetch(make, iter(range(3, 8)), ahead=2) as batches:
    taken = []
    for i in range(5):
      taken.append(batches.take())
      # Two at first, and one more for each that was taken.
      for _ in range(min(2 + i + 1, 5) - len(made)):
        go.acquire(timeout=10)
      assert len(made) <= 2 + i + 1
    assert taken == [30, 40, 50, 60, 70]
    with pytest.raises(IndexError):
      batches.take()
  assert [step for step, _ in made] == [3, 4, 5, 6, 7]
  assert {name for _, name in made} == {"prefetch_0"}


def test_an_error_is_raised_where_its_step_is_taken():
  def make(step):
    if step == 2:
      raise ValueError("row 7")
    return step

  with Prefetch(make, range(1, 4)) as batches:
    assert batches.take() == 1
    with pytest.raises(ValueError, match="row 7"):
      batches.take()
    assert batches.take() == 3


def test_a_thread_that_is_closed_makes_nothing_more():
  made, began, go = [], threading.Event(), threading.Event()

  def make(step):
    made.append(step)
    began.set()
    go.wait(10)

  batches = Prefetch(make, range(100), ahead=50)
  assert began.wait(10)
  threading.Timer(0.05, go.set).start()
  batches.close()
  assert made == [0]
  assert "prefetch_0" not in {t.name for t in threading.enumerate()}
