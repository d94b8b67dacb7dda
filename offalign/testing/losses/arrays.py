"""Evaluate a loss and its gradients on plain arrays."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign import losses
from offalign.errors import UserError
from offalign.learner.columns import batch_statistics
from offalign.testing.losses.contracts import CONTRACTS, check_loss
from offalign.types import BY_TOKEN, LEARNED, Array, Scores

__all__ = ["CONTRACTS", "Evaluation", "check_loss", "evaluate"]

_GIVEN = (
  "ref_logps",
  "behaviour_logps",
  "prefix_logps",
  "ref_prefix_logps",
  "log_collisions",
  "lengths",
  "rewards",
  "margins",
  "labels",
  "values",
  "kl",
  "weight",
  *BY_TOKEN,
)

_MEAN_OF = {
  "reward_mean": {"rewards"},
  "length_mean": {"lengths"},
  "desirable_length_mean": {"lengths", "labels"},
  "chosen_length_mean": {"lengths"},
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The result of `evaluate`, as float64 numpy arrays.

  Attributes:
    values: [B] unreduced losses.
    grads: gradients of the batch mean of `values`: of "logps" [B, K] and,
      where the loss declares them, of "prefix_logps", "values",
      "token_logps", "token_kls" and "token_values", in the shape they were
      given.
    metrics: name -> [B] or [B, K].
  """

  values: np.ndarray
  grads: dict[str, np.ndarray]
  metrics: dict[str, np.ndarray]


def evaluate(
  spec: "str | losses.Loss",
  *,
  logps: Any = None,
  ref_logps: Any = None,
  behaviour_logps: Any = None,
  prefix_logps: Any = None,
  ref_prefix_logps: Any = None,
  log_collisions: Any = None,
  lengths: Any = None,
  rewards: Any = None,
  margins: Any = None,
  labels: Any = None,
  values: Any = None,
  kl: Any = None,
  weight: Any = None,
  token_mask: Any = None,
  token_logps: Any = None,
  ref_token_logps: Any = None,
  behaviour_token_logps: Any = None,
  token_kls: Any = None,
  token_values: Any = None,
  token_rewards: Any = None,
  token_weights: Any = None,
  old_token_values: Any = None,
  state: Any = None,
  dtype: Any = np.float64,
) -> Evaluation:
  """Evaluates any registered loss on plain arrays, with its gradients.

  Statistics over the batch that a loss declares (`reward_mean`, ...) are
  computed from the rows given. Columns that the loss does not need are
  ignored, so that one table serves every loss.

  >>> evaluate("dpo", logps=[[-1., -2.]], ref_logps=[[-1., -2.]]).values
  array([0.69314718])

  Args:
    spec: a loss or its spec string.
    logps: [B, K] summed log-probs under the policy; with `token_logps` and
      `token_mask`, their sums where it is left out.
    ref_logps: [B, K] summed log-probs under the reference.
    behaviour_logps: [B, K] summed log-probs under the policy that wrote the
      completions.
    prefix_logps: [B, K] as `logps`, but each completion cut to the length of
      the shortest in its row.
    ref_prefix_logps: [B, K] `prefix_logps` under the reference.
    log_collisions: [B, K] sums over tokens of log sum_v p(v)^2.
    lengths: [B, K] completion tokens.
    rewards: [B, K].
    margins: [B], of pairs.
    labels: [B, K] bool.
    values: [B] (one V(x) a prompt) or [B, K].
    kl: scalar, the mismatched-pair estimate, clamped or not.
    weight: [B]; default: ones. Used by batch means and by losses that declare
      it; `grads` are of the unweighted mean of `values` all the same.
    token_mask: [B, K, T] bool, the completions' tokens.
    token_logps: [B, K, T].
    ref_token_logps: [B, K, T].
    behaviour_token_logps: [B, K, T].
    token_kls: [B, K, T].
    token_values: [B, K, T].
    token_rewards: [B, K, T].
    token_weights: [B, K, T].
    old_token_values: [B, K, T].
    state: the loss's state; default: its initial state.
    dtype: the precision to compute in; float64, or narrower.

  Raises:
    UserError: where a column that the loss needs is missing or has the
      wrong shape.
  """
  loss = losses.get(spec)
  if logps is None:
    if token_logps is None or token_mask is None:
      raise UserError("give logps, or token_logps with token_mask")
    logps = np.where(token_mask, token_logps, 0.0).sum(axis=-1)
  if weight is None:
    weight = np.ones(np.shape(logps)[:1])
  own = locals()
  given = {name: own[name] for name in _GIVEN}
  with jax.enable_x64(True):
    columns = _columns(loss, logps, given, dtype)
    learned = {name: columns.pop(name) for name in LEARNED if name in columns}

    def mean(learned: dict[str, Array]) -> tuple[Array, Any]:
      seen = {**columns, **learned}
      if state is not None:
        seen["state"] = state
      output = loss(Scores(seen))
      return output.values.mean(), output

    grads, output = jax.grad(mean, has_aux=True)(learned)
    shapes = {
      name: np.shape(values)
      if name == "values"
      else (np.shape(grad) if name in BY_TOKEN else np.shape(logps))
      for name, grad in grads.items()
    }
    return Evaluation(
      values=np.asarray(output.values, np.float64),
      grads={
        name: np.asarray(grad, np.float64).reshape(shapes[name])
        for name, grad in grads.items()
      },
      metrics={
        name: np.asarray(metric, np.float64)
        for name, metric in output.metrics.items()
      },
    )


def _columns(
  loss: losses.Loss, logps: Any, given: dict[str, Any], dtype: Any
) -> dict[str, Array]:
  """The columns that a loss declares, checked and in `dtype`."""
  logps = jnp.asarray(logps, dtype)
  if logps.ndim != 2:
    raise UserError(f"logps must be [B, K], not of shape {logps.shape}")
  columns = {"logps": logps}
  statistics = [n for n in loss.needs if n not in _GIVEN]
  wanted = {n for n in loss.needs if n in _GIVEN}
  for name in statistics:
    wanted |= _MEAN_OF[name]
  for name in sorted(wanted):
    if given[name] is None:
      raise UserError(f"loss {str(loss)!r} needs {name}; pass {name}=...")
    is_bool = name in ("labels", "token_mask")
    column = jnp.asarray(given[name], bool if is_bool else dtype)
    if name == "values" and column.ndim == 1:
      column = column[:, None]
    allowed = {
      "kl": [()],
      "weight": [logps.shape[:1]],
      "margins": [logps.shape[:1]],
      "values": [logps.shape, (logps.shape[0], 1)],
    }.get(name, [logps.shape])
    if name in BY_TOKEN:
      fits = column.ndim == 3 and column.shape[:2] == logps.shape
      allowed = [column.shape] if fits else [(*logps.shape, column.shape[-1])]
    if column.shape not in allowed:
      raise UserError(
        f"{name} has shape {column.shape}, expected {allowed[0]} to go with "
        f"logps of shape {logps.shape}"
      )
    columns[name] = column
  means = batch_statistics(
    loss.needs,
    weight=jnp.asarray(given["weight"], logps.dtype),
    lengths=columns.get("lengths", logps),
    rewards=columns.get("rewards"),
    labels=columns.get("labels"),
  )
  return {**columns, **means}
