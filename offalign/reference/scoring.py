"""Reference log-probs as data: computed once, before the first step.

Offline, the reference never changes, so its log-probs are a column. `attach`
computes those that the store lacks. A pass that was cut off resumes at the
start of a batch, so the bits are those of a pass that was never cut off.
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from offalign.data import TokenRows, eval_batches
from offalign.data.text.ragged import Ragged
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop
from offalign.learner import Learner
from offalign.progress import Progress
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
  """Adds `ref_logps` to rows, computing those that are not stored.

  Args:
    rows: N rows of U distinct sequences.
    wanted: int, the rows that will be used; the others get NaN, so that one
      used by mistake stops the run.
    store: known log-probs; those that are computed here are added to it.
    learner: scores batches.
    params: the reference's weights.
    batch_size: prompts scored at a time.
    title: of the progress bar.
    stop: asked after each batch whether to stop.

  Raises:
    Stopped: where `stop` says so.
  """
  keys = rows.keys()
  used = np.unique(rows.completion_index[wanted])
  taken = store.take_over(dict.fromkeys(keys[u] for u in used))
  if taken:
    hosts.say(f"{title}: {taken:,} of {len(used):,} sequences from the cache")
  _complete(
    rows,
    used,
    store,
    learner,
    params,
    batch_size=batch_size,
    title=title,
    stop=stop,
  )
  logps = np.full(len(keys), np.nan, np.float32)
  logps[used] = [store.known[keys[u]] for u in used]
  return dataclasses.replace(rows, ref_logps=logps[rows.completion_index])


@dataclasses.dataclass(frozen=True)
class Scorer:
  """`attach` with all its arguments but the rows, for one run.

  Attributes:
    store: known log-probs; those that are computed are added to it.
    learner: scores batches.
    params: the reference's weights.
    batch_size: prompts scored at a time.
    stop: asked after each batch whether to stop.
  """

  store: Store
  learner: Learner
  params: Params
  batch_size: int
  stop: Stop | None = None

  def attach(
    self, rows: TokenRows, what: str, wanted: np.ndarray | None = None
  ) -> TokenRows:
    """Adds `ref_logps` to the `wanted` rows; None = to all."""
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

  def attach_tokens(
    self, rows: TokenRows, what: str, wanted: np.ndarray
  ) -> TokenRows:
    """Adds `ref_token_logps` to the `wanted` rows."""
    return attach_tokens(
      rows,
      wanted,
      self.store.by_token(),
      self.learner,
      self.params,
      batch_size=self.batch_size,
      title=f"reference by token, {what}",
      stop=self.stop,
    )


def attach_tokens(
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
  """Adds `ref_token_logps` to rows, computing those that are not stored.

  Args:
    rows: N rows of U distinct sequences.
    wanted: int, the rows that will be used; the others get NaN.
    store: of log-probs of tokens, `Store.by_token`.
    learner: of a loss that needs them; scores batches.
    params: the reference's weights.
    batch_size: prompts scored at a time.
    title: of the progress bar.
    stop: asked after each batch whether to stop.

  Raises:
    Stopped: where `stop` says so.
  """
  keys = rows.keys()
  used = np.unique(rows.completion_index[wanted])
  _complete(
    rows,
    used,
    store,
    learner,
    params,
    batch_size=batch_size,
    title=title,
    stop=stop,
    by_token=True,
  )
  lengths = rows.completions.lengths
  each = [np.full(n, np.nan, np.float32) for n in lengths]
  for u in used:
    each[u] = store.known[keys[u]]
  return dataclasses.replace(rows, ref_token_logps=Ragged.of(each, np.float32))


def _complete(
  rows: TokenRows,
  used: np.ndarray,
  store: Store,
  learner: Learner,
  params: Params,
  *,
  batch_size: int,
  title: str,
  stop: Stop | None,
  by_token: bool = False,
) -> None:
  """Computes what the store lacks of some distinct sequences, and adds it.

  What is new is kept where `stop` ends the pass, too.
  """
  keys, lengths = rows.keys(), rows.completions.lengths
  # Of sequences with equal keys, score the first.
  unknown = {keys[u]: u for u in used[::-1] if keys[u] not in store.known}
  missing = np.sort(np.array(list(unknown.values()), int))
  if not len(missing):
    return
  hosts.say(f"{title}: {len(missing):,} of {len(used):,} sequences to score")
  parts = scored(
    rows,
    missing,
    learner,
    params,
    batch_size=batch_size,
    title=title,
    by_token=by_token,
  )
  try:
    for which, found in parts:
      each: np.ndarray | list[np.ndarray] = found
      if by_token:
        each = [
          row[: lengths[u]].copy() for u, row in zip(which, found, strict=True)
        ]
      store.add([keys[u] for u in which], each)
      if stop is not None:
        stop.check()
  finally:
    store.flush()


def distinct_logps(
  rows: TokenRows,
  which: np.ndarray,
  learner: Learner,
  params: Params,
  *,
  batch_size: int,
) -> np.ndarray:
  """Computes log-probs of distinct sequences, each once.

  The same sequences in the same call, under the same weights, give the same
  bits. So an untrained policy has log-ratios of exactly 0 on rows for which
  this function computed the reference's log-probs as well.

  Args:
    rows: rows of U distinct sequences.
    which: int [M], the sequences to score, as indices below U.
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
  by_token: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Computes log-probs of distinct sequences, batch by batch.

  Args:
    rows: rows of U distinct sequences.
    which: int [M], the sequences to score, as indices below U.
    learner: scores batches.
    params: the policy's weights.
    batch_size: sequences scored at a time.
    title: of the progress bar; None = no bar.
    by_token: log-probs of tokens, [M, T], in place of their sums [M].

  Yields:
    At most `batch_size` entries of `which`, and their log-probs.
  """
  score = learner.score_tokens if by_token else learner.score
  mine = sharding.local_rows(learner.mesh, batch_size)
  batches = eval_batches(rows.unique().take(which), batch_size, mine)
  with Progress(
    title or "",
    len(which),
    "sequence",
    leave=True,
    speaks=lambda: bool(title) and hosts.speaks(),
  ) as bar:
    for i, batch in enumerate(batches):
      part = which[i * batch_size :][:batch_size]
      placed = sharding.put_batch(learner.mesh, batch)
      logps = jax.device_get(score(params, placed))[:, 0]
      yield part, logps[: len(part)]
      bar.update(len(part))
