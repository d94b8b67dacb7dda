"""Tests lie where the modules lie; `python tests/test_layout.py` lists gaps."""

import pathlib
import re

TESTS = pathlib.Path(__file__).parent
PACKAGE = TESTS.parent / "offalign"
# How many modules have no tests/<room>/test_<module>.py. They are tested by
# files of their room; the number only goes down.
WITHOUT = 122
# Folders of tests that are no rooms of the package.
_REGISTERS = re.compile(r"^@?_?register\(", re.MULTILINE)
OTHERS = {"helpers", "docs", "benchmarks", "golden", "fuzz", "real"}


def without():
  """The modules in rooms that no test file is named after.

  A file that registers a loss needs none: tests/losses runs over them all.
  """
  return sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.glob("*/**/*.py")
    if not path.name.startswith("__")
    and not (TESTS / _test_of(path.relative_to(PACKAGE))).exists()
    and not _REGISTERS.search(path.read_text(encoding="utf-8"))
  )


def _test_of(module):
  return module.with_name(f"test_{module.name}")


def test_new_modules_have_a_test_file_of_their_name():
  found = without()
  assert len(found) <= WITHOUT, (
    f"{len(found)} modules have no tests/<room>/test_<module>.py, {WITHOUT} "
    f"had none before: {', '.join(found)}"
  )
  assert len(found) == WITHOUT, f"better: write WITHOUT = {len(found)} here"


def test_folders_of_tests_are_rooms_of_the_package():
  for path in TESTS.glob("**/test_*.py"):
    folder = path.parent.relative_to(TESTS)
    if folder.parts and folder.parts[0] not in OTHERS:
      assert (PACKAGE / folder).is_dir(), f"{path} is in no room"


if __name__ == "__main__":
  print("\n".join(without()))
