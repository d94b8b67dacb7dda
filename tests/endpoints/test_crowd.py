"""Many questions at a time."""

import threading
import time

import pytest

from offalign.endpoints.client import Halted
from offalign.endpoints.crowd import ask_all


class Client:
  """Stands for a client: its waits end when it is halted."""

  def __init__(self):
    self.halted = threading.Event()

  def begin(self):
    self.halted.clear()

  def halt(self):
    self.halted.set()

  def wait(self):
    if self.halted.wait(20):
      raise Halted
    raise AssertionError("nobody ended the wait")


def ask(one, n, client=None, **how):
  how = {"workers": 3, "desc": "asking", "unit": "question"} | how
  return ask_all(client or Client(), one, range(n), **how)


def test_answers_have_the_order_of_the_questions():
  def one(i):
    time.sleep(0.002 * (7 - i))
    return i * i

  assert ask(one, 7) == [i * i for i in range(7)]
  assert ask(one, 0) == []


def test_what_ends_one_ends_the_waits_of_the_others():
  client = Client()

  def one(i):
    if i == 1:
      raise ValueError("no")
    client.wait()

  with pytest.raises(ValueError, match="no"):
    ask(one, 9, client)
  # And the next questions may be asked.
  assert ask(lambda i: client.halted.is_set(), 1, client) == [False]


def test_who_watches_may_end_it():
  client, seen = Client(), []

  def watch():
    seen.append(1)
    if len(seen) == 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    ask(lambda i: client.wait(), 2, client, watch=watch)
