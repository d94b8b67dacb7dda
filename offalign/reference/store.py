"""Stored reference log-probs, in files beside the run.

They are stored under the hash of the tokens they belong to, so a resumed run
finds them whatever the order of its rows, and only those that are missing are
computed: another tokenizer, template or truncation gives other tokens, and so
another row.

The log-probs are written to disk every few seconds while they are computed,
so a pass that is cut off loses no more than that.

Runs that start from the same weights share a folder in the cache, where one is
given. What a run takes from there is copied into its own folder, which is
whole without the cache.
"""

import hashlib
import os
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.files import writing

SECONDS = 10.0  # between two writes, while log-probs are computed


class Store:
  """Log-probs of one reference, in the files of a folder.

  The folder may hold those of others too, each file of one. Files are only
  ever added, each complete and named by the hash of its content, so several
  processes may write at the same time.

  Attributes:
    known: hash of prompt and completion tokens -> log-prob, or float32 [T] of
      each token where the store was filled with these; nats.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    identity: str,
    shared: "Shared | None" = None,
  ):
    """Reads the log-probs in a folder, if there is one.

    Args:
      folder: a folder of .npz files, or one yet to be made.
      identity: names the reference's weights.
      shared: what other runs computed with the same weights.

    Raises:
      UserError: where a file is damaged.
    """
    self._folder, self._identity, self._shared = folder, identity, shared
    self.known: dict[str, Any] = {}
    self._new: dict[str, Any] = {}
    self._written = time.monotonic()
    hosts.wait("what the first process has written is there")
    for path in sorted(folder.glob("*.npz")):
      for key, logp in self._read(path).items():
        self.known.setdefault(key, logp)
    found = hashlib.sha256("".join(sorted(self.known)).encode())
    hosts.agree({"stored reference": found.hexdigest()})

  def by_token(self) -> "Store":
    """The store of the same reference's log-probs of each token, inside."""
    return Store(self._folder / "tokens", self._identity)

  def _read(self, path: pathlib.Path) -> dict[str, Any]:
    try:
      found, logps = _read(path)
    except Exception:  # damage takes many forms
      raise UserError(
        f"{path} cannot be read: delete it, and it will be computed again"
      ) from None
    return logps if found == self._identity else {}

  def take_over(self, keys: Iterable[str]) -> int:
    """Copies what other runs computed of some sequences.

    Args:
      keys: hashes of prompt and completion tokens.

    Returns:
      How many of them were not known here and are now.
    """
    if self._shared is None:
      return 0
    there = self._shared.known
    found = {k: there[k] for k in keys if k in there and k not in self.known}
    self.known |= found
    _write(self._folder, self._identity, found)
    return len(found)

  def add(self, keys: list[str], logps: np.ndarray | list[np.ndarray]) -> None:
    """Adds log-probs float32 [N], or N of tokens; writes every `SECONDS`."""
    each = logps if isinstance(logps, list) else logps.tolist()
    new = dict(zip(keys, each, strict=True))
    self.known |= new
    self._new |= new
    if time.monotonic() - self._written >= SECONDS:
      self.flush()

  def flush(self) -> None:
    """Writes the log-probs added since the last file, in one process."""
    new, self._new = self._new, {}
    self._written = time.monotonic()
    _write(self._folder, self._identity, new)
    if self._shared is not None:
      self._shared.add(new)


class Shared:
  """Log-probs that all runs with the same weights share, in a cache.

  Attributes:
    known: hash of prompt and completion tokens -> log-prob; nats.
  """

  def __init__(self, cache: pathlib.Path, identity: str):
    """Reads what is there; files that are damaged are left out.

    Args:
      cache: the folder of the cache; may be emptied at any time.
      identity: says what the log-probs depend on besides the tokens: the
        weights, the model, the precision. It holds no path and no name, so
        that another folder with the same weights shares them too.
    """
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    self._folder, self._identity = cache / f"reference-{name}", identity
    self.known: dict[str, float] = {}
    for path in sorted(self._folder.glob("*.npz")):
      try:
        found, logps = _read(path)
      except Exception:  # damage takes many forms
        continue
      if found == identity:
        self.known |= logps

  def add(self, new: Mapping[str, float]) -> None:
    """Writes log-probs for the runs to come.

    Raises:
      Unwritten: where the cache cannot be written to.
    """
    _write(self._folder, self._identity, new)


def _read(path: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """The identity in a file, and its log-probs; raises anything at all."""
  with np.load(path, allow_pickle=False) as file:
    found, keys, logps = (file[k] for k in ("identity", "keys", "logps"))
    lengths = file["lengths"] if "lengths" in file.files else None
  if found.shape or keys.dtype != np.dtype("S32") or keys.ndim != 1:
    raise ValueError("no keys")
  shape = keys.shape if lengths is None else (int(lengths.sum()),)
  if logps.dtype != np.float32 or logps.shape != shape:
    raise ValueError("no log-probs")
  names = keys.astype("U32").tolist()
  if lengths is None:
    return str(found), dict(zip(names, logps.tolist(), strict=True))
  each = np.split(logps, np.cumsum(lengths)[:-1])
  return str(found), dict(zip(names, each, strict=True))


def _write(folder: pathlib.Path, identity: str, new: Mapping[str, Any]) -> None:
  if not new or not hosts.is_first():
    return
  columns: dict[str, Any] = {
    "identity": np.array(identity),
    "keys": np.array(list(new), dtype="S32"),
    "logps": np.hstack(list(new.values())).astype(np.float32),
  }
  values = list(new.values())
  if isinstance(values[0], np.ndarray):
    columns["lengths"] = np.array([len(each) for each in values], np.int64)
  content = b"".join(column.tobytes() for column in columns.values())
  name = hashlib.sha256(content).hexdigest()[:16]
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part-{os.getpid()}"
    with part.open("wb") as file:
      np.savez(file, **columns)
      file.flush()
      os.fsync(file.fileno())
    part.replace(folder / f"{name}.npz")
