"""Contracts on rows: one loss a row, whatever the batch and the order."""

import jax
import jax.numpy as jnp
import numpy as np

from offalign.losses import Loss
from offalign.testing.losses.inputs import (
  ROWS,
  Result,
  difference,
  learning,
  require,
  run,
  sample,
  take,
  with_means,
)
from offalign.types import BY_TOKEN, Kind, Scores

_PART = 4  # rows of a smaller batch


def shape(loss: Loss) -> None:
  """Losses are [B] in at least float32; metrics are [B] or [B, K]."""
  sizes = {Kind.SINGLE: (1, 2), Kind.PAIR: (2,), Kind.GROUP: (2, 3)}
  for k in sizes[loss.kind]:
    columns = with_means(loss, sample(loss, k=k))
    with jax.enable_x64(False):
      low = {
        name: x
        if name == "state"
        else jnp.asarray(x, x.dtype if x.dtype == bool else jnp.bfloat16)
        for name, x in columns.items()
      }
      output = loss(Scores(low))
    require(
      output.values.shape == (ROWS,),
      f"it returns {list(output.values.shape)} for B = {ROWS}, K = {k}, not "
      f"[{ROWS}]; leave the mean over rows to the learner",
    )
    require(
      output.values.dtype == jnp.float32,
      f"it returns {output.values.dtype} from bfloat16 columns, not float32",
    )
    for name, metric in output.metrics.items():
      require(
        metric.shape in ((ROWS,), (ROWS, k)),
        f"metric {name!r} has shape {list(metric.shape)}, not [B] or [B, K]",
      )


def unreduced(loss: Loss) -> None:
  """A row's loss is the same whatever other rows are in the batch."""
  if loss.whole_batch:
    return
  columns = with_means(loss, sample(loss))
  part = slice(0, _PART)
  name = difference(
    run(loss, take(columns, part)), take(run(loss, columns), part)
  )
  require(
    not name,
    f"{name} of a row changes with the other rows of the batch; declare a "
    "batch mean or whole_batch=True",
  )


def permutation(loss: Loss) -> None:
  """A row's loss is the same wherever in the batch the row stands.

  For a loss that mixes rows, it is the sum of the losses, and the gradients.
  """
  columns = with_means(loss, sample(loss))
  order = np.random.default_rng(1).permutation(ROWS)
  got = run(loss, take(columns, order))
  want = take(run(loss, columns), order)
  if loss.whole_batch:
    got, want = _summed(got), _summed(want)
  name = difference(got, want)
  require(not name, f"{name} of a row changes with its place in the batch")


def _summed(result: Result) -> Result:
  return {**learning(result), "values": result["values"].sum()[None]}


def padding(loss: Loss) -> None:
  """Padding rows, empty and of weight 0, are finite and change nothing."""
  columns = sample(loss)
  weight = np.where(np.arange(ROWS) < _PART, 1.0, 0.0)
  padded = {name: x.copy() for name, x in columns.items()}
  for name in set(columns) - {"rewards", "labels", "kl"}:
    padded[name][_PART:] = 0.0
  # A batch mean that forgets the weights must show.
  padded["rewards"][_PART:], padded["labels"][_PART:] = 100.0, True
  got = learning(run(loss, with_means(loss, padded, weight), weight))
  for name, column in got.items():
    require(np.isfinite(column), f"{name} of an empty row is not finite")
  part = slice(0, _PART)
  want = learning(run(loss, with_means(loss, take(columns, part))))
  if loss.whole_batch:  # such a loss may assign its sum to rows as it likes
    total = (weight * got["values"]).sum()
    got, want = {**got, "values": total[None]}, _summed(want)
  name = difference(want, take(got, part))
  require(
    not name,
    f"{name} changes with rows of weight 0"
    + ("; declare 'weight' and leave them out" if loss.whole_batch else ""),
  )


def behind(loss: Loss) -> None:
  """What token columns hold behind a completion's end changes nothing."""
  if not set(BY_TOKEN) & set(loss.needs):
    return
  columns = with_means(loss, sample(loss))
  mask = columns["token_mask"]
  junk = {
    name: np.where(mask, columns[name], 7.0 - 0.5 * i)
    for i, name in enumerate(BY_TOKEN)
    if name != "token_mask"
  }
  clean, got = run(loss, columns), run(loss, {**columns, **junk})
  name = difference(clean, got)
  require(not name, f"{name} changes with what is behind the mask")
  for name, gradient in got.items():
    if name.startswith("grad/token_"):
      require(gradient[~mask] == 0.0, f"{name} is not 0 behind the mask")


def jit(loss: Loss) -> None:
  """Compiled and eager evaluation agree."""
  columns = with_means(loss, sample(loss))
  try:
    compiled = run(loss, columns, jit=True)
  except jax.errors.JAXTypeError as error:
    raise AssertionError(f"it fails under jit: {error}") from error
  name = difference(run(loss, columns), compiled)
  require(not name, f"{name} under jit differs from eager evaluation")
