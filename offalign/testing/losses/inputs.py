"""The inputs and evaluations that the contracts share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign.learner.columns import batch_statistics
from offalign.losses import Loss
from offalign.types import BY_TOKEN, LEARNED, Array, Kind, Scores

Columns = dict[str, Any]
Result = dict[str, np.ndarray]

ROWS = 6  # B of the inputs that losses are checked on


def require(holds: Any, message: str) -> None:
  """Raises AssertionError unless all of `holds` is true."""
  if not np.all(holds):
    raise AssertionError(message)


def sample(loss: Loss, *, k: int | None = None) -> Columns:
  """Makes generic inputs: every column but the batch means, in float64.

  Args:
    loss: the loss to check; decides K where `k` is not given.
    k: completions of a prompt.
  """
  rng = np.random.default_rng(0)
  k = k or {Kind.SINGLE: 1, Kind.PAIR: 2, Kind.GROUP: 3}[loss.kind]
  shape = (ROWS, k)
  lengths = rng.integers(3, 20, shape).astype(np.float64)
  ref_logps = -lengths * rng.uniform(0.5, 1.5, shape)
  labels = rng.permutation(np.arange(ROWS * k) % 3 == 0)
  columns = {
    "logps": ref_logps + rng.normal(scale=3.0, size=shape),
    "ref_logps": ref_logps,
    "lengths": lengths,
    "rewards": rng.normal(size=shape),
    "margins": np.linspace(-1.0, 2.0, ROWS),
    "labels": labels.reshape(shape),
    "values": rng.normal(size=(ROWS, 1)),
    "weight": np.ones(ROWS),
    "kl": np.asarray(0.3),
  }
  if loss.trains_rewards:
    columns["values"] = rng.normal(size=shape)
  share = rng.uniform(0.3, 0.7, shape)
  return {
    **columns,
    "behaviour_logps": ref_logps + rng.normal(scale=0.1, size=shape),
    "prefix_logps": share * columns["logps"],
    "ref_prefix_logps": share * ref_logps,
    # Tokens more and less likely than what the policy draws.
    "log_collisions": -lengths * rng.uniform(0.5, 1.5, shape),
  }


def with_means(
  loss: Loss, columns: Columns, weight: np.ndarray | None = None
) -> Columns:
  """Adds weights (default 1), columns by token, batch means and state.

  The columns by token add up to those by sequence. The batch means are those
  that the loss declares; its state, if it has one, is that after this batch.
  """
  if weight is None:
    weight = np.ones(len(columns["logps"]), columns["rewards"].dtype)
  columns = {**columns, "weight": weight, **_by_token(loss, columns)}
  means = batch_statistics(
    loss.needs,
    weight=jnp.asarray(weight),
    lengths=jnp.asarray(columns["lengths"]),
    rewards=jnp.asarray(columns["rewards"]),
    labels=jnp.asarray(columns["labels"]),
  )
  columns |= {k: np.asarray(v) for k, v in means.items()}
  if loss.has_state:
    scores = Scores({k: jnp.asarray(v) for k, v in columns.items()})
    columns["state"] = loss.update_state(scores, loss.init_state())
  return columns


def _by_token(loss: Loss, columns: Columns) -> Columns:
  """Columns [B, K, T] that add up to those by sequence; {} if not needed.

  Log-probs are shared out alike under every policy, so that where two agree on
  a sequence they agree on its tokens, with a KL divergence of 0. A row's
  depend on that row alone.
  """
  if not set(BY_TOKEN) & set(loss.needs):
    return {}
  dtype = columns["logps"].dtype
  lengths = np.asarray(columns["lengths"], np.float64)[..., None]
  place = np.arange(max(int(lengths.max()), 1))
  mask = place < lengths
  share = np.where(mask, 1.0 + 0.3 * np.sin(place), 0.0)
  share = share / np.maximum(share.sum(axis=-1, keepdims=True), 1e-9)
  wave = np.where(mask, 0.01 * np.cos(1.7 * place), 0.0)

  def spread(name: str) -> np.ndarray:
    whole = np.asarray(columns[name], np.float64)[..., None]
    return np.broadcast_to(whole, mask.shape)

  return {
    "token_mask": mask,
    "token_logps": (spread("logps") * share).astype(dtype),
    "ref_token_logps": (spread("ref_logps") * share).astype(dtype),
    "behaviour_token_logps": (spread("behaviour_logps") * share).astype(dtype),
    "token_kls": (
      0.1 * abs(spread("logps") - spread("ref_logps")) * share
    ).astype(dtype),
    "token_values": np.where(mask, spread("values") + wave, 0.0).astype(dtype),
    "token_rewards": (spread("rewards") * share).astype(dtype),
    "token_weights": np.where(mask, 1.0 + 0.5 * np.cos(place), 0.0).astype(
      dtype
    ),
    "old_token_values": np.where(mask, spread("values"), 0.0).astype(dtype),
  }


def of_sequences(result: Result, name: str) -> np.ndarray:
  """A gradient by sequence, [B, K]: that by token is summed over tokens.

  Args:
    result: of `run`.
    name: "logps" or "values".
  """
  found = result.get(f"grad/{name}", np.zeros(()))
  by_token = result.get(f"grad/token_{name}")
  return found if by_token is None else found + by_token.sum(axis=-1)


def run(
  loss: Loss,
  columns: Columns,
  weight: np.ndarray | None = None,
  jit: bool = False,
) -> Result:
  """Computes losses, and gradients of their weighted sum.

  Args:
    loss: the loss.
    columns: all columns that the loss needs, batch means included.
    weight: [B]; default: ones.
    jit: compile, or run operation by operation.

  Returns:
    "values" [B], "grad/logps" [B, K], "grad/..." of the other learned columns
    that the loss declares, and "metric/..." [B] or [B, K].
  """
  learned = {
    name: jnp.asarray(columns[name])
    for name in LEARNED
    if name == "logps" or name in loss.needs
  }
  data = {
    k: jax.tree.map(jnp.asarray, v)
    for k, v in columns.items()
    if k not in learned
  }

  def total(learned: dict[str, Array]) -> tuple[Array, Any]:
    output = loss(Scores({**data, **learned}))
    rows = output.values if weight is None else weight * output.values
    return rows.sum(), output

  grad = jax.grad(total, has_aux=True)
  grads, output = (jax.jit(grad) if jit else grad)(learned)
  return {
    "values": np.asarray(output.values),
    **{f"grad/{k}": np.asarray(v, np.float64) for k, v in grads.items()},
    **{f"metric/{k}": np.asarray(v) for k, v in output.metrics.items()},
  }


def learning(result: Result) -> Result:
  """The losses and gradients of a result, without its metrics."""
  return {k: v for k, v in result.items() if not k.startswith("metric/")}


def take(columns: Columns, rows: Any) -> Columns:
  """Takes some rows of each column; scalars stay as they are."""
  return {
    k: v if k == "state" or not v.ndim else v[rows] for k, v in columns.items()
  }


def difference(
  a: Result, b: Result, rtol: float = 1e-9, atol: float = 1e-11
) -> str:
  """Names the first entry in which `a` and `b` differ; "" if none."""
  for name, x in a.items():
    y = b.get(name)
    if y is None or x.shape != y.shape:
      return name
    if not np.allclose(x, y, rtol, atol, equal_nan=True):
      return name
  return ""
