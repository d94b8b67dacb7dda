"""The one exception that a user's mistake raises.

Its message is a sentence or a few: what is wrong, where (file, row, column,
flag), and what to do. Command-line entry points print the message alone and
exit with 2; anything else that escapes is a defect of ours and keeps its
traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
  """A mistake in what the user asked for or supplied."""


def suggest(name: str, valid: Iterable[str]) -> str:
  """Returns "; did you mean 'x'?" for the nearest valid name, or ""."""
  close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
  return f"; did you mean {close[0]!r}?" if close else ""
