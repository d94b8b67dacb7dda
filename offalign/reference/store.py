"""Stored reference log-probs, in files beside the run.

They are stored under the hash of the tokens they belong to, so a resumed run
finds them whatever the order of its rows, and only those that are missing are
computed: another tokenizer, template or truncation gives other tokens, and so
another row.

The log-probs are written to disk every few seconds while they are computed,
so a pass that is cut off loses no more than that.
"""

import hashlib
import os
import pathlib
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from offalign.distributed import hosts
from offalign.errors import UserError, option
from offalign.files import writing

SECONDS = 10.0  # between two writes, while log-probs are computed


class Store:
  """Log-probs of one reference, in the files of a folder.

  Files are only ever added, each complete and named by the hash of its
  content, so several processes may write at the same time.

  Attributes:
    known: hash of prompt and completion tokens -> log-prob; nats.
  """

  def __init__(self, folder: pathlib.Path, identity: str):
    """Reads the log-probs in a folder, if there is one.

    Args:
      folder: a folder of .npz files, or one yet to be made.
      identity: names the reference's weights.

    Raises:
      UserError: where a file holds log-probs of another reference.
    """
    self._folder, self._identity = folder, identity
    self.known: dict[str, float] = {}
    self._new: dict[str, float] = {}
    self._written = time.monotonic()
    for path in sorted(folder.glob("*.npz")):
      for key, logp in self._read(path):
        self.known.setdefault(key, logp)
    found = hashlib.sha256("".join(sorted(self.known)).encode())
    hosts.agree({"stored reference": found.hexdigest()})

  def _read(self, path: pathlib.Path) -> Iterator[tuple[str, float]]:
    try:
      with np.load(path, allow_pickle=False) as file:
        found, keys, logps = (file[k] for k in ("identity", "keys", "logps"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
      raise UserError(
        f"{path} cannot be read: delete it, and it will be computed again"
      ) from None
    if str(found) != self._identity:
      raise UserError(
        f"{path} holds log-probs of another reference ({found}; this run's "
        f"is {self._identity}): name another {option('out')}, or delete the "
        "folder"
      )
    return zip(keys.astype("U32").tolist(), logps.tolist(), strict=True)

  def add(self, keys: list[str], logps: np.ndarray) -> None:
    """Adds log-probs float32 [N]; writes them every `SECONDS`."""
    new = dict(zip(keys, logps.tolist(), strict=True))
    self.known |= new
    self._new |= new
    if time.monotonic() - self._written >= SECONDS:
      self.flush()

  def flush(self) -> None:
    """Writes the log-probs added since the last file, in one process."""
    new, self._new = self._new, {}
    self._written = time.monotonic()
    if not new or not hosts.is_first():
      return
    columns: dict[str, Any] = {
      "identity": np.array(self._identity),
      "keys": np.array(list(new), dtype="S32"),
      "logps": np.array(list(new.values()), np.float32),
    }
    content = b"".join(column.tobytes() for column in columns.values())
    name = hashlib.sha256(content).hexdigest()[:16]
    with writing(self._folder):
      self._folder.mkdir(parents=True, exist_ok=True)
      part = self._folder / f"{name}.part-{os.getpid()}"
      with part.open("wb") as file:
        np.savez(file, **columns)
        file.flush()
        os.fsync(file.fileno())
      part.replace(self._folder / f"{name}.npz")
