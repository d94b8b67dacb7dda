"""What a run holds out: held_out.jsonl, and which prompts it trained on.

prompts.npz holds 64-bit hashes of prompts: "trained", of those that this run
and the runs it started from were trained on; "held_out", of those that they
hold out. A run that starts from this one looks its own prompts up there.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterable, Sequence

import numpy as np

from offalign.data.reading.record_rows import rows_of
from offalign.data.reading.records import Prompt, Record
from offalign.errors import UserError
from offalign.files import write_atomically, writing
from offalign.generation import completions

FILE, PROMPTS = "held_out.jsonl", "prompts.npz"
WORD = "heldout"
"""What stands for a run's held-out prompts where a file of them may stand."""

_CURE = "; put the file back"


@dataclasses.dataclass(frozen=True)
class Known:
  """The prompts of a run and of those it started from, by their hashes.

  Attributes:
    trained: those that were trained on.
    held: those that are held out.
  """

  trained: frozenset[int]
  held: frozenset[int]


def number(prompt: Prompt) -> int:
  """The hash of a prompt, 64 bits."""
  text = repr(prompt).encode("utf-8", "surrogatepass")
  return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def write(
  folder: pathlib.Path,
  held: Sequence[Record],
  trained: Iterable[Prompt],
  before: Known | None,
) -> None:
  """Writes what a run holds out, and which prompts it trains on.

  Args:
    folder: the run folder.
    held: the held-out records; where there are none, no held_out.jsonl is
      written.
    trained: the prompts that are trained on.
    before: of the run that this one starts from.

  Raises:
    Unwritten: where a file cannot be.
  """
  own = {number(prompt) for prompt in dict.fromkeys(trained)}
  kept = {number(prompt) for prompt in dict.fromkeys(r.prompt for r in held)}
  if before is not None:
    kept |= before.held - own
    own |= before.trained
  if held:
    rows = (row for record in held for row in rows_of(record))
    lines = [json.dumps(row) + "\n" for row in rows]
    write_atomically(folder / FILE, "".join(lines))
  path = folder / PROMPTS
  part = path.with_name(path.name + ".part")
  with writing(path):
    with part.open("wb") as file:
      np.savez(
        file,
        trained=np.array(sorted(own), np.uint64),
        held_out=np.array(sorted(kept), np.uint64),
      )
      file.flush()
      os.fsync(file.fileno())
    part.replace(path)


def read_known(folder: pathlib.Path) -> Known | None:
  """The prompts that a run has trained on and held out.

  None of a run that was begun by a version that did not write them down.

  Raises:
    UserError: where the file is not what a run writes.
  """
  path = folder / PROMPTS
  if not path.exists():
    return None
  try:
    with np.load(path, allow_pickle=False) as arrays:
      both = [arrays[name] for name in ("trained", "held_out")]
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} cannot be read ({error}){_CURE}") from None
  if any(x.dtype != np.uint64 or x.ndim != 1 for x in both):
    raise UserError(f"{path} holds no hashes of prompts{_CURE}")
  trained, held = (frozenset(x.tolist()) for x in both)
  return Known(trained, held)


def prompts(folder: pathlib.Path) -> tuple[completions.Prompt, ...]:
  """The distinct prompts that a run holds out, in the order of its data.

  Raises:
    UserError: where the run holds none out, or its file is damaged.
  """
  path = folder / FILE
  if not path.exists():
    raise UserError(
      f"{folder} has no {FILE}: the run held nothing out, or was begun by a "
      "version that wrote none; name a file of prompts"
    )
  return completions.read_prompts(path)


def are_plain(folder: pathlib.Path) -> bool:
  """Whether the prompts that a run holds out are plain text, as it trains on.

  False where it holds none out, or some are conversations.
  """
  if not (folder / FILE).exists():
    return False
  return all(isinstance(prompt, str) for prompt in prompts(folder))


def asked(
  folder: pathlib.Path, named: str | pathlib.Path
) -> tuple[completions.Prompt, ...]:
  """The prompts of a file; for the word "heldout", those a run holds out.

  Args:
    folder: the run folder.
    named: the file, or the word; a file of that name is ./heldout.

  Raises:
    UserError: see `prompts` and `completions.read_prompts`.
  """
  if str(named) == WORD:
    return prompts(folder)
  return completions.read_prompts(named)
