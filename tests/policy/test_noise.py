"""Errors that are raised are not printed by a library's threads as well."""

import logging
import sys
import types

import pytest

from offalign.policy import noise


@pytest.fixture
def hook(monkeypatch):
  """The hook, over one that lists what reaches it."""
  reached = []
  monkeypatch.setattr(sys, "unraisablehook", reached.append)
  noise.silence.__wrapped__()
  made = sys.unraisablehook
  for name in ("absl", "asyncio"):
    logging.getLogger(name).removeFilter(noise._is_news)
  return made, reached


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
