"""Imports that are put off, and those that are held back."""

import json
import sys

import pytest

from offalign import lazy


def test_a_module_is_not_found_within_and_is_after(monkeypatch):
  monkeypatch.delitem(sys.modules, "this", raising=False)
  with lazy.without("this"), pytest.raises(ImportError):
    import this  # noqa: F401
  assert "this" not in sys.modules


def test_what_is_imported_already_stays():
  with lazy.without("json"):
    import json as again
  assert again is json
