"""Published files, where `python -m benchmarks.real_files` has brought them.

They are in $OFFALIGN_REAL, or in .cache/real of the clone. What is not there
is skipped.
"""

import pytest

from benchmarks import real_files


def found(name):
  """The path of a part; skips the test where it is not there."""
  path = real_files.find(name)
  if path is None:
    pytest.skip(
      f"no {name} in {real_files.FOLDER}: python -m benchmarks.real_files"
    )
  return path


@pytest.fixture(scope="session")
def real():
  """A function: the name of a part -> its path, or the test is skipped."""
  return found
