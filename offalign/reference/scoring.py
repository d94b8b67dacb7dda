"""Score sequences under the reference, but for those whose log-probs are kept.

Offline, the reference never changes, so its log-probs are a column: `attach`
computes what the store lacks and gives rows their `ref_logps`. A pass that is
cut off goes on with whole batches, and so with the bits that it would have
had.
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
import tqdm

from offalign.data import TokenRows, eval_batches
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop
from offalign.learner import Learner
from offalign.reference.store import Store
from offalign.types import Params


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
  """Gives the rows of one run their reference log-probs; see `attach`.

  Attributes:
    store: what is known; gains what was missing.
    learner: scores batches.
    params: the reference's weights.
    batch_size: prompts scored at a time.
    stop: looked at after each batch.
  """

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
  """Scores distinct sequences, each once, batch by batch.

  Args:
    rows: rows of U distinct sequences.
    which: int [M], of the U.
    learner: scores batches.
    params: the policy's weights.
    batch_size: sequences scored at a time.
    title: of a progress bar; None = no bar.

  Yields:
    At most `batch_size` of `which`, in order, and the float32 log-prob of
    each; nats.
  """
  mine = sharding.local_rows(learner.mesh, batch_size)
  batches = tqdm.tqdm(
    eval_batches(rows.unique().take(which), batch_size, mine),
    total=-(-len(which) // batch_size),
    desc=title,
    disable=None if title and hosts.is_first() else True,
  )
  for i, batch in enumerate(batches):
    part = which[i * batch_size :][:batch_size]
    placed = sharding.put_batch(learner.mesh, batch)
    logps = jax.device_get(learner.score(params, placed))[:, 0]
    yield part, logps[: len(part)]
