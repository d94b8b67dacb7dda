"""The objective of one step: from params and a batch to a loss and gradients.

A batch may be cut into microbatches; nothing that a user sees depends on it:

  * What the loss declares as a batch statistic (means of rewards or lengths,
    KTO's KL term) is computed over the global batch first, without gradient.
  * The loss's own state is then updated from the scores of the global batch,
    in a pass of its own without gradient.
  * A loss of single rows is then summed microbatch by microbatch.
  * A loss that mixes rows (`whole_batch`, or one value for the batch) is
    evaluated once on the scores of all rows; its gradient with respect to
    those scores is then carried back microbatch by microbatch (the gradient
    cache of Gao et al., arXiv:2101.06983). So is the load-balancing loss of a
    mixture of experts, which sees what routers did with all rows
    (`offalign.learner.balance`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from offalign.errors import UserError
from offalign.learner import balance as balance_lib
from offalign.learner import columns as columns_lib
from offalign.learner import forward
from offalign.learner import value as value_lib
from offalign.losses import Loss
from offalign.models import lora as lora_lib
from offalign.models import packed as packing
from offalign.models.base import Hidden, Model, Routed
from offalign.models.chunked_kl import token_kls
from offalign.models.chunked_softmax import Layout
from offalign.models.logps import (
  log_collisions,
  sequence_logps,
  token_logps,
)
from offalign.types import Array, Batch, Packed, Params, Scores

Learned = dict[str, Array]  # "logps" [B, K], perhaps "values" and others
Means = dict[str, tuple[Array, Array]]  # name -> (sum, weight)


@dataclasses.dataclass(frozen=True)
class Objective:
  """Pure functions that score a batch and differentiate a loss on it.

  Attributes:
    loss: the loss.
    model: the policy's model.
    value: how V is computed; None where the loss needs no values.
    microbatches: pieces that a batch is cut into.
    compute_dtype: dtype of the activations; params and sums stay in float32.
    logp_chunk: `chunk` of `offalign.models.logps.token_logps`.
    layout: `layout` of `offalign.models.logps.token_logps`.
    balance: weight of the load-balancing loss in the gradients; 0 for none.
    reference: the reference's weights while a batch is scored beside it, for
      `token_kls`; adapters where `over` put it under those; None otherwise.
    reference_model: the reference's model, where that is not `model`.
  """

  loss: Loss
  model: Model
  value: value_lib.ValueConfig | None
  microbatches: int = 1
  compute_dtype: str | None = None
  logp_chunk: int | None = None
  layout: Layout = dataclasses.field(default_factory=Layout)
  balance: float = 0.0
  reference: Params | None = None
  reference_model: Model | None = None

  def over(self, lora: lora_lib.LoraConfig, base: Params | None) -> "Objective":
    """This objective for LoRA adapters over `base`.

    Of a reference without a model of its own, the weights are adapters too: {}
    is `base`.
    """
    model = lora_lib.over(self.model, lora, self._cast(base))
    return dataclasses.replace(self, model=model)

  def logps(self, policy: Params, batch: Batch) -> Array:
    """Summed log-probs of the completions, [B, K]; nats."""
    return self._scored({"policy": policy}, batch, values=False)["logps"]

  def values(self, params: Params, batch: Batch) -> Array:
    """Values of each row, before any average over the batch."""
    return self._scored(params, batch)["values"]

  def mapped_logps(self, policy: Params, batch: Batch) -> Array:
    """Computes `logps` one microbatch at a time."""
    return self._map(lambda piece: self.logps(policy, piece), batch)

  def mapped_token_logps(self, policy: Params, batch: Batch) -> Array:
    """Log-probs of tokens, [B, K, T], one microbatch at a time."""

    def scored(piece: Batch) -> Array:
      found = self._scored({"policy": policy}, piece, values=False)
      return found["token_logps"]

    return self._map(scored, batch)

  def next_state(
    self,
    params: Params,
    batch: Batch,
    ref_params: Params | None,
    loss_state: Any,
  ) -> Any:
    """The loss's state updated by a global batch; unchanged if it has none."""
    if not self.loss.has_state:
      return loss_state
    fixed = jax.lax.stop_gradient(params)
    columns = self._columns(fixed, batch, ref_params, loss_state)
    beside = self._beside(ref_params)
    learned = self._map(lambda piece: beside._scored(fixed, piece), batch)
    scores = Scores({**columns, **learned, "weight": batch.weight})
    return self.loss.update_state(scores, loss_state)

  def grads(
    self,
    params: Params,
    batch: Batch,
    ref_params: Params | None,
    loss_state: Any = None,
  ) -> tuple[Params, Array, Means]:
    """Differentiates the weighted mean of the loss over the global batch.

    Args:
      params: {"policy": ...} and, if the loss needs values, "value".
      batch: B prompts; B is a multiple of `microbatches`.
      ref_params: the weights of the reference, of `reference_model` where
        there is one; needed where the batch lacks `ref_mismatched_logps`,
        `ref_prefix_logps` or `ref_token_logps`, which are then computed in the
        step, and always for `token_kls`.
      loss_state: the loss's state, already updated by this batch.

    Returns:
      Gradients like `params`, losses [B], and metrics as (sum, weight).

    Raises:
      UserError: where the loss needs `token_kls` and `ref_params` is None.
    """
    columns = self._columns(params, batch, ref_params, loss_state)
    beside = self._beside(ref_params)
    if self.microbatches == 1:
      return beside._direct(params, batch, columns)
    if self._mixes_rows:
      return beside._cached(params, batch, columns)
    return beside._accumulated(params, batch, columns)

  def losses(
    self,
    params: Params,
    batch: Batch,
    ref_params: Params | None,
    loss_state: Any = None,
  ) -> tuple[Array, Means]:
    """Losses [B] and metrics as (sum, weight), without gradients."""
    columns = self._columns(params, batch, ref_params, loss_state)
    beside = self._beside(ref_params)
    learned = self._map(lambda piece: beside._scored(params, piece), batch)
    return self._summed(learned, columns, batch.weight)[1]

  @property
  def _mixes_rows(self) -> bool:
    per_batch = self.value is not None and self.value.per == "batch"
    return self.loss.whole_batch or per_batch or self.balance > 0

  def _beside(self, ref_params: Params | None) -> "Objective":
    """This objective beside the reference, for a loss that needs both."""
    if not self.loss.runs_reference:
      return self
    if ref_params is None:
      raise UserError(
        f"loss {str(self.loss)!r} compares all that the policy and the "
        "reference could write next, for which log-probs of what was written "
        "do not suffice: give the reference's weights as ref_params"
      )
    return dataclasses.replace(self, reference=ref_params)

  def _scored(
    self,
    params: Params,
    batch: Batch,
    values: bool = True,
    balanced: bool = False,
  ) -> Learned:
    """Scores a batch; the part that is differentiated."""
    cast = self._cast(params)
    routed = None
    if balanced and self.balance:
      hidden, routed = forward.routed(
        self.model, cast["policy"], batch, balance_lib.counted(batch)
      )
    else:
      hidden = forward.hidden(self.model, cast["policy"], batch)
    tokens = token_logps(
      hidden.completions,
      self.model.unembedding(cast["policy"]),
      forward.targets(batch),
      softcap=self.model.softcap,
      chunk=self.logp_chunk,
      layout=self.layout,
    )
    tokens = forward.by_token(batch, tokens)
    out = {"logps": sequence_logps(tokens, batch.completion_mask)}
    if routed is not None:
      # As rows, of which there is one a microbatch.
      out |= {f"routed_{k}": v[None] for k, v in routed._asdict().items()}
    if {"token_logps", "ref_token_logps"} & set(self.loss.needs):
      out["token_logps"] = jnp.where(batch.completion_mask, tokens, 0.0)
    if values and "prefix_logps" in self.loss.needs:
      mask = columns_lib.prefix(batch.completion_mask)
      out["prefix_logps"] = sequence_logps(tokens, mask)
    if values and "token_kls" in self.loss.needs:
      kls = self._token_kls(cast["policy"], batch, hidden)
      out["token_kls"] = jnp.where(batch.completion_mask, kls, 0.0)
    if values and "log_collisions" in self.loss.needs:
      collisions = log_collisions(
        jax.lax.stop_gradient(hidden.completions),
        jax.lax.stop_gradient(self.model.unembedding(cast["policy"])),
        softcap=self.model.softcap,
      )
      out["log_collisions"] = sequence_logps(
        forward.by_token(batch, collisions), batch.completion_mask
      )
    if values and self.value is not None:
      own = {**cast["value"], "head": params["value"]["head"]}
      if "token_values" in self.loss.needs:
        raw = value_lib.token_values(self.value, self.model, own, batch, hidden)
        out["token_values"] = raw.astype(out["logps"].dtype)
      if "token_values" not in self.loss.needs or "values" in self.loss.needs:
        raw = value_lib.values(self.value, self.model, own, batch, hidden)
        out["values"] = raw.astype(out["logps"].dtype)
    return out

  def _token_kls(self, policy: Params, batch: Batch, hidden: Hidden) -> Array:
    """KL(pi_ref || pi) at every token, [B, K, T]."""
    assert self.reference is not None
    reference = jax.lax.stop_gradient(self._cast(self.reference))
    model = self.reference_model or self.model
    kls = token_kls(
      hidden.completions,
      self.model.unembedding(policy),
      forward.hidden(model, reference, batch).completions,
      model.unembedding(reference),
      softcap=self.model.softcap,
      ref_softcap=model.softcap,
      chunk=self.logp_chunk,
      layout=self.layout,
    )
    return forward.by_token(batch, kls)

  def _cast(self, params: Params) -> Params:
    if self.compute_dtype is None:
      return params
    dtype = jnp.dtype(self.compute_dtype)
    return jax.tree.map(
      lambda p: p.astype(dtype) if jnp.issubdtype(p.dtype, jnp.floating) else p,
      params,
    )

  def _columns(
    self,
    params: Params,
    batch: Batch,
    ref_params: Params | None,
    loss_state: Any,
  ) -> dict[str, Any]:
    """Collects the declared columns that get no gradient in this step."""
    other = self
    if self.reference_model is not None:
      other = dataclasses.replace(self, model=self.reference_model)
    found = columns_lib.of(
      self.loss,
      self.mapped_logps,
      params["policy"],
      batch,
      ref_params,
      other.mapped_logps,
      other.mapped_token_logps,
    )
    return found | ({"state": loss_state} if self.loss.has_state else {})

  def _summed(
    self, learned: Learned, columns: dict[str, Any], weight: Array
  ) -> tuple[Array, tuple[Array, Means]]:
    """Computes the weighted sum of the losses of some rows."""
    seen = {k: v for k, v in learned.items() if not k.startswith("routed_")}
    if "values" in seen:
      assert self.value is not None
      seen["values"] = value_lib.over_batch(
        self.value, learned["values"], weight
      )
    output = self.loss(Scores({**columns, **seen}))
    means = {k: _sum(v, weight) for k, v in output.metrics.items()}
    # Not by `_sum`: a loss that is NaN must show.
    summed = jnp.sum(weight * output.values)
    means["loss"] = (summed, jnp.sum(weight))
    return summed, (output.values, means)

  def _direct(
    self, params: Params, batch: Batch, columns: dict[str, Any]
  ) -> tuple[Params, Array, Means]:
    total = jnp.maximum(batch.weight.sum(), 1e-9)

    def mean(params: Params) -> tuple[Array, tuple[Array, Means]]:
      learned = self._scored(params, batch, balanced=True)
      summed, aux = self._summed(learned, columns, batch.weight)
      return self._balanced(summed / total, learned, aux)

    grads, (losses, means) = jax.grad(mean, has_aux=True)(params)
    return grads, losses, means

  def _accumulated(
    self, params: Params, batch: Batch, columns: dict[str, Any]
  ) -> tuple[Params, Array, Means]:
    """Sums gradients over microbatches, then divides once."""
    rows, scalars = columns_lib.split(columns)

    def piece(
      carry: Params, xs: tuple[Batch, dict[str, Array]]
    ) -> tuple[Params, tuple[Array, Means]]:
      part, part_rows = xs

      def summed(params: Params) -> tuple[Array, tuple[Array, Means]]:
        learned = self._scored(params, part)
        return self._summed(learned, {**part_rows, **scalars}, part.weight)

      grads, aux = jax.grad(summed, has_aux=True)(params)
      return jax.tree.map(jnp.add, carry, grads), aux

    zeros = jax.tree.map(jnp.zeros_like, params)
    pieces = self._split((batch, rows))
    grads, (losses, means) = jax.lax.scan(piece, zeros, pieces)
    total = jnp.maximum(batch.weight.sum(), 1e-9)
    return (
      jax.tree.map(lambda g: g / total, grads),
      rearrange(losses, "m b -> (b m)"),
      jax.tree.map(lambda x: x.sum(axis=0), means),
    )

  def _cached(
    self, params: Params, batch: Batch, columns: dict[str, Any]
  ) -> tuple[Params, Array, Means]:
    """Scores all rows first, then backpropagates piece by piece."""

    def scored(params: Params, piece: Batch) -> Learned:
      return self._scored(params, piece, balanced=True)

    learned = self._map(lambda piece: scored(params, piece), batch)
    total = jnp.maximum(batch.weight.sum(), 1e-9)

    def mean(learned: Learned) -> tuple[Array, tuple[Array, Means]]:
      summed, aux = self._summed(learned, columns, batch.weight)
      return self._balanced(summed / total, learned, aux)

    cotangents, (losses, means) = jax.grad(mean, has_aux=True)(learned)

    def piece(carry: Params, xs: tuple[Batch, Learned]) -> tuple[Params, None]:
      part, cotangent = xs
      _, pullback = jax.vjp(lambda p: scored(p, part), params)
      return jax.tree.map(jnp.add, carry, pullback(cotangent)[0]), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    grads, _ = jax.lax.scan(piece, zeros, self._split((batch, cotangents)))
    return grads, losses, means

  def _balanced(
    self, mean: Array, learned: Learned, aux: tuple[Array, Means]
  ) -> tuple[Array, tuple[Array, Means]]:
    """Adds the load-balancing loss to the mean of a batch's losses."""
    if not self.balance:
      return mean, aux
    assert self.model.routing is not None
    losses, means = aux
    sums = (learned[f"routed_{name}"].sum(axis=0) for name in Routed._fields)
    extra = balance_lib.loss(self.model.routing, Routed(*sums))
    means = {**means, "aux_loss": (extra, jnp.ones_like(extra))}
    return mean + self.balance * extra.astype(mean.dtype), (losses, means)

  def _split(self, tree: Any) -> Any:
    # (b m), not (m b): keeps every row on the device that has it.
    m = self.microbatches

    def cut(x: Any) -> Any:
      if isinstance(x, Packed):
        return packing.cut(x, m)
      return rearrange(x, "(b m) ... -> m b ...", m=m)

    return jax.tree.map(cut, tree, is_leaf=lambda x: isinstance(x, Packed))

  def _map(self, fn: Callable[[Batch], Any], batch: Batch) -> Any:
    """Applies fn to each microbatch and puts the rows back in order."""
    if self.microbatches == 1:
      return fn(batch)
    out = jax.lax.map(fn, self._split(batch))
    return jax.tree.map(lambda x: rearrange(x, "m b ... -> (b m) ..."), out)


def _sum(metric: Array, weight: Array) -> tuple[Array, Array]:
  """(sum, weight) of a metric [B] or [B, K], NaN entries left out."""
  if metric.ndim == 2:
    weight = weight[:, None] / metric.shape[1]
  applies = ~jnp.isnan(metric)
  share = jnp.where(applies, weight, 0.0)
  return jnp.sum(share * jnp.where(applies, metric, 0.0)), jnp.sum(share)
