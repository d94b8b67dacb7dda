"""Neutral openings of sentences, which a policy completes.

They were written for this benchmark; the lexicon scores each of them 0. The
three parts have none in common.
"""

import importlib.resources

PARTS = ("train", "validation", "test")


def read(part: str) -> list[str]:
  """Returns the openings of a part, in the order of the file.

  Args:
    part: one of `PARTS`.
  """
  found: dict[str, list[str]] = {}
  file = importlib.resources.files(__package__) / "openings.txt"
  for line in file.read_text(encoding="utf-8").splitlines():
    if line.startswith("# "):
      found[line[2:]] = opened = []
    elif line:
      opened.append(line)
  return found[part]
