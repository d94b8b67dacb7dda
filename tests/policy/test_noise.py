"""Errors that are raised are not printed by a library's threads as well."""

import logging
import sys
import types
import warnings

import pytest

from offalign.policy import noise


@pytest.fixture
def hook(monkeypatch):
  """The hook, over one that lists what reaches it."""
  reached = []
  monkeypatch.setattr(sys, "unraisablehook", reached.append)
  noise.silence.__wrapped__()
  return sys.unraisablehook, reached


def test_a_closed_loop_is_dropped_and_all_else_passes(hook):
  made, reached = hook
  closed = types.SimpleNamespace(exc_value=RuntimeError("Event loop is closed"))
  other = types.SimpleNamespace(exc_value=RuntimeError("another"))
  made(closed)
  made(other)
  assert reached == [other]


@pytest.mark.parametrize(
  ("path", "text", "error", "logged"),
  [
    ("/x/orbax/checkpoint/a.py", "failed", True, False),
    ("/lib/base_events.py", "Task of /x/orbax/b.py was never", True, False),
    ("/x/orbax/checkpoint/a.py", "deprecated", False, True),
    ("/x/orbax/checkpoint/a.py", "no Metadata file", False, False),
    ("/x/mine.py", "failed", True, True),
  ],
)
def test_lines_of_orbax_on_raised_errors_are_dropped(path, text, error, logged):
  info = (ValueError, ValueError(), None) if error else None
  record = logging.LogRecord("absl", 40, path, 1, text, (), info)
  assert noise._is_news(record) is logged


@pytest.mark.parametrize(
  ("path", "logged"), [("/x/orbax/checkpoint/a.py", False), ("/x/b.py", True)]
)
def test_a_future_that_nobody_waits_for_is_told_by_its_stack(path, logged):
  try:
    exec(compile("open('/no/such/place/file')", path, "exec"))
  except OSError:
    info = sys.exc_info()
  text = "Future exception was never retrieved"
  record = logging.LogRecord("asyncio", 40, "/b/events.py", 1, text, (), info)
  assert noise._is_news(record) is logged


@pytest.mark.usefixtures("hook")
def test_writers_that_were_not_begun_are_not_spoken_of():
  with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    noise.silence.__wrapped__()
    for name in ("async_serialize_from_host.<locals>.write_fragment", "mine"):
      warnings.warn(
        f"coroutine '{name}' was never awaited", RuntimeWarning, stacklevel=1
      )
  assert [str(one.message) for one in said] == [
    "coroutine 'mine' was never awaited"
  ]
