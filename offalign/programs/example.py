"""offalign example FOLDER

Writes a sample log of feedback to try everything on: questions to a shop, with
answers that customers liked or did not, made from a seed. The same log is there
as JSON lines, CSV, chats and SQLite, with a function that scores answers. For
example:

  offalign example example
  offalign audit example/thumbs.jsonl

FOLDER must not be there, or be empty: nothing is written over.
"""

from collections.abc import Sequence

from absl import flags

from offalign.data.example import folder
from offalign.errors import UserError, speaking
from offalign.programs import flags as flags_lib


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Writes the folder; returns the exit status."""
  values = flags.FLAGS
  try:
    if len(argv) < 2:
      raise UserError("name a new folder: offalign example FOLDER")
    flags_lib.require(argv[1:], (), "one folder")
    written = folder.write(argv[1], values.seed)
  except UserError as error:
    flags_lib.complain("offalign.example", error)
    return 2
  width = max(map(len, folder.FILES))
  for name, what in folder.FILES.items():
    flags_lib.say(f"{written}/{name:{width}}  {what}")
  flags_lib.say(f"next: offalign audit {written}/thumbs.jsonl")
  return 0


def _flags() -> None:
  flags.DEFINE_integer("seed", 0, "another one makes other rows", 0)


def run() -> None:
  """Starts the program."""
  flags_lib.start("example", main, __doc__, _flags)
