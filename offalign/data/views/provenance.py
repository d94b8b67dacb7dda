"""Where a completion of a view came from."""

import re
from typing import NamedTuple

_PART = re.compile(r"(.+?):(\d+)(?:\[(\d+)\])?(?:,|$)", re.DOTALL)


class Origin(NamedTuple):
  """One place in the data.

  Attributes:
    file: as the user wrote it, or a data set's name.
    row: from 0; in JSON lines the line.
    completion: which of the row's, from 0; of a pair 0 is the chosen one.
  """

  file: str
  row: int
  completion: int


def origins(source: str) -> tuple[Origin, ...]:
  """Parses "file:row" and "file:row[k]", joined by commas, into places.

  The name of a file may have commas and colons, but not ":3," with a number.

  >>> origins("a.jsonl:7[1],a.jsonl:9[0]")[1]
  Origin(file='a.jsonl', row=9, completion=0)
  >>> origins("a.jsonl:7")
  (Origin(file='a.jsonl', row=7, completion=0),)
  """
  return tuple(
    Origin(file, int(row), int(k or 0))
    for file, row, k in _PART.findall(source)
  )
