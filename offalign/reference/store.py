"""Reference log-probs as data: computed once, kept beside the run.

Offline, the reference never changes, so its log-probs are a column. They are
stored by the hash of the tokens they belong to, so a resumed run finds them
whatever the order of its rows, and only what is missing is computed: a row
that another tokenizer, template or truncation made is another row.

While they are computed they are written every few seconds, so a pass that is
cut off loses no more than that. It goes on with whole batches, and so with
the bits that it would have had.
"""

import dataclasses
import hashlib
import os
import pathlib
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import tqdm

from offalign.data import TokenRows, eval_batches
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop
from offalign.errors import UserError
from offalign.learner import Learner
from offalign.types import Params

SECONDS = 10.0  # between two files, while log-probs are computed


class Store:
  """Log-probs of one reference, in the files of a folder.

  Files are only ever added, whole, under the hash of what is in them, so
  several may be written at a time.

  Attributes:
    known: hash of prompt and completion tokens -> log-prob; nats.
  """

  def __init__(self, folder: pathlib.Path, identity: str):
    """Reads what the folder holds; it need not be there.

    Args:
      folder: of .npz files.
      identity: says which weights the reference has.

    Raises:
      UserError: where a file holds those of another reference.
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
        f"is {self._identity}): name another --cfg.out, or delete the folder"
      )
    return zip(keys.astype("U32").tolist(), logps.tolist(), strict=True)

  def add(self, keys: list[str], logps: np.ndarray) -> None:
    """Takes log-probs float32 [N]; writes them if it is time to."""
    new = dict(zip(keys, logps.tolist(), strict=True))
    self.known |= new
    self._new |= new
    if time.monotonic() - self._written >= SECONDS:
      self.flush()

  def flush(self) -> None:
    """Writes what is new; the first process does."""
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
    self._folder.mkdir(parents=True, exist_ok=True)
    part = self._folder / f"{name}.part-{os.getpid()}"
    with part.open("wb") as file:
      np.savez(file, **columns)
      file.flush()
      os.fsync(file.fileno())
    part.replace(self._folder / f"{name}.npz")


def attach(
  rows: TokenRows,
  wanted: np.ndarray,
  store: Store,
  learner: Learner,
  params: Params,
  *,
  batch_size: int,
  title: str,
  stop: Stop | None = None,
) -> TokenRows:
  """Gives rows their `ref_logps`.

  Args:
    rows: N rows of U distinct sequences.
    wanted: int, the rows that will be used; the others get NaN, so that one
      used by mistake stops the run.
    store: what is known; gains what was missing, as far as it was computed.
    learner: scores batches.
    params: the reference's weights.
    batch_size: prompts scored at a time.
    title: of the progress bar.
    stop: looked at after each batch.

  Raises:
    Stopped: where it was asked for.
  """
  keys = rows.keys()
  used = np.unique(rows.completion_index[wanted])
  # Of sequences with equal keys, the first.
  unknown = {keys[u]: u for u in used[::-1] if keys[u] not in store.known}
  missing = np.sort(np.array(list(unknown.values()), int))
  if len(missing):
    hosts.say(f"{title}: {len(missing):,} of {len(used):,} sequences to score")
    try:
      for which, found in scored(
        rows, missing, learner, params, batch_size=batch_size, title=title
      ):
        store.add([keys[u] for u in which], found)
        if stop is not None:
          stop.check()
    finally:
      store.flush()
  logps = np.full(len(keys), np.nan, np.float32)
  logps[used] = [store.known[keys[u]] for u in used]
  return dataclasses.replace(rows, ref_logps=logps[rows.completion_index])


@dataclasses.dataclass(frozen=True)
class Scorer:
  """`attach` for the rows of one run; its arguments, but for the rows."""

  store: Store
  learner: Learner
  params: Params
  batch_size: int
  stop: Stop | None = None

  def attach(
    self, rows: TokenRows, what: str, wanted: np.ndarray | None = None
  ) -> TokenRows:
    """Gives rows their `ref_logps`; all of them, if not told which."""
    return attach(
      rows,
      np.arange(len(rows)) if wanted is None else wanted,
      self.store,
      self.learner,
      self.params,
      batch_size=self.batch_size,
      title=f"reference, {what}",
      stop=self.stop,
    )


def distinct_logps(
  rows: TokenRows,
  which: np.ndarray,
  learner: Learner,
  params: Params,
  *,
  batch_size: int,
) -> np.ndarray:
  """Scores distinct sequences, each once.

  The same sequences under the same weights give the same bits, which is why
  an untrained policy has log-ratios of exactly 0 on rows that were scored by
  this function, together, for the reference too.

  Args:
    rows: rows of U distinct sequences.
    which: int [M], of the U.
    learner: scores batches.
    params: the policy's weights.
    batch_size: sequences scored at a time.

  Returns:
    float32 [M] summed log-probs; nats.
  """
  parts = scored(rows, which, learner, params, batch_size=batch_size)
  return np.concatenate([logps for _, logps in parts])


def scored(
  rows: TokenRows,
  which: np.ndarray,
  learner: Learner,
  params: Params,
  *,
  batch_size: int,
  title: str | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """`distinct_logps`, batch by batch.

  Args:
    rows: as there.
    which: as there.
    learner: as there.
    params: as there.
    batch_size: as there.
    title: of a progress bar; None = no bar.

  Yields:
    At most `batch_size` of `which`, and their log-probs.
  """
  mine = sharding.local_rows(learner.mesh, batch_size)
  batches = tqdm.tqdm(
    eval_batches(rows.unique().take(which), batch_size, mine),
    total=-(-len(which) // batch_size),
    desc=title,
    disable=None if title and hosts.speaks() else True,
  )
  for i, batch in enumerate(batches):
    part = which[i * batch_size :][:batch_size]
    placed = sharding.put_batch(learner.mesh, batch)
    logps = jax.device_get(learner.score(params, placed))[:, 0]
    yield part, logps[: len(part)]
