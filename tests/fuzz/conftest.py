"""How many mutants are read; the default takes the gate about two minutes."""

import pytest


def pytest_addoption(parser):
  parser.addoption(
    "--mutations",
    type=int,
    default=None,
    help="mutants to make of the valid files of all readers together",
  )


@pytest.fixture(scope="session")
def mutations(request):
  """How many mutants all readers are given together."""
  return request.config.getoption("mutations", None) or 3_000
