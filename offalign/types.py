"""Every type that more than one module shares, with its shapes.

Shape letters, used in every docstring of the project:

  B  prompts in a batch            P  prompt tokens
  K  completions of one prompt     T  completion tokens (EOS inside)
  V  vocabulary                    d  width of the hidden states
"""

import enum
from collections.abc import Mapping
from typing import Any

import jax
from flax import struct

Array = jax.Array
Column = Any  # a jax array inside jit, a numpy array on the host
Params = Any  # a nested dict of arrays


class Kind(enum.Enum):
  """What the K completions of a prompt are to a loss."""

  SINGLE = "single"
  """Each completion is on its own; any K >= 1 (usually 1)."""
  PAIR = "pair"
  """K = 2: completion 0 is chosen, completion 1 is rejected."""
  GROUP = "group"
  """K >= 2 completions that are compared with each other."""


@struct.dataclass
class Packed:
  """The tokens of B prompts and their completions, end to end in rows.

  The prompts are in G groups of B / G, which never share a row, each group in
  R rows that have room for P prompt and C completion tokens. The completions
  of a prompt are in its row. Rows end in padding.

  Attributes:
    prompts: int32 [G, R, P].
    prompt_owner: int32 [G, R, P], the prompt that a token is of: its number
      in the group, from 1; 0 on padding.
    prompt_position: int32 [G, R, P], from 0 in every prompt.
    prompt_end: int32 [B], where among the R * P of its group a prompt ends.
    completions: int32 [G, R, C].
    segment: int32 [G, R, C], the completion that a token is of: its number
      in the group, K for each prompt, from 1; 0 on padding.
    position: int32 [G, R, C], in prompt and completion together.
    before: int32 [G, R, C], where in the row, P + C, the token before is.
    begin: int32 [B, K], where among the R * C of its group each begins.
    longest: bound on the positions.
    microbatches: M; the groups are those of each shard of the batch and, in
      it, of each microbatch: of every M-th row.
  """

  prompts: Column
  prompt_owner: Column
  prompt_position: Column
  prompt_end: Column
  completions: Column
  segment: Column
  position: Column
  before: Column
  begin: Column
  longest: int = struct.field(pytree_node=False)
  microbatches: int = struct.field(pytree_node=False)


@struct.dataclass
class Batch:
  """B prompts, each stored once, with K completions each.

  Attributes:
    prompts: int32 [B, P].
    prompt_mask: bool [B, P], True on real tokens; padding on either side.
    completions: int32 [B, K, T].
    completion_mask: bool [B, K, T], True on completion tokens, EOS included;
      right-padded.
    weight: float32 [B]; 0 marks padding rows, which change nothing.
    rewards: float32 [B, K] or None.
    labels: bool [B, K] or None; True = desirable.
    ref_logps: float32 [B, K] or None: summed log-probs under the reference.
    behaviour_logps: float32 [B, K] or None: summed log-probs under the policy
      that wrote the completions, as logged when it did.
    ref_token_logps: float32 [B, K, T] or None: `ref_logps` token by token.
    behaviour_token_logps: float32 [B, K, T] or None: `behaviour_logps` token
      by token.
    token_rewards: float32 [B, K, T] or None: feedback on each token.
    token_weights: float32 [B, K, T] or None: how much each token counts.
    old_token_values: float32 [B, K, T] or None: V before each token, as it
      was when the completions were written.
    margins: float32 [B] or None; see `Scores.margins`.
    ref_prefix_logps: float32 [B, K] or None: under the reference, of as many
      tokens as the row's shortest completion has.
    ref_mismatched_logps: float32 [B, K] or None: under the reference, of each
      prompt with the completions of the next row (`batch.next_valid`).
    packed: the same tokens in other rows, which models are then given in
      place of those above; or None.
    packed_mismatched: prompts with the completions of the next row likewise.
  """

  prompts: Column
  prompt_mask: Column
  completions: Column
  completion_mask: Column
  weight: Column
  rewards: Column | None = None
  labels: Column | None = None
  ref_logps: Column | None = None
  behaviour_logps: Column | None = None
  ref_token_logps: Column | None = None
  behaviour_token_logps: Column | None = None
  token_rewards: Column | None = None
  token_weights: Column | None = None
  old_token_values: Column | None = None
  margins: Column | None = None
  ref_prefix_logps: Column | None = None
  ref_mismatched_logps: Column | None = None
  packed: Packed | None = None
  packed_mismatched: Packed | None = None


class UndeclaredInput(AttributeError):
  """A loss touched a column of `Scores` that it did not declare."""


@struct.dataclass
class Scores:
  """What a loss sees: columns by sequence or by token, only those it declared.

  Reading a column that is not there raises `UndeclaredInput`, so a loss
  cannot depend on what it does not say it needs.

  Attributes:
    columns: name -> array.
  """

  columns: Mapping[str, Array]

  def _get(self, name: str) -> Array:
    if name not in self.columns:
      raise UndeclaredInput(
        f"this loss reads scores.{name} but does not declare it: add "
        f"{name!r} to needs=(...) where it is registered"
      )
    return self.columns[name]

  @property
  def logps(self) -> Array:
    """[B, K] sums of completion-token log-probs under the policy; nats."""
    return self._get("logps")

  @property
  def ref_logps(self) -> Array:
    """[B, K] the same sums under the reference; no gradient."""
    return self._get("ref_logps")

  @property
  def log_ratios(self) -> Array:
    """[B, K] rho = logps - ref_logps. Declared by "ref_logps"."""
    return self.logps - self.ref_logps

  @property
  def behaviour_logps(self) -> Array:
    """[B, K] the same sums under the logging policy; no gradient."""
    return self._get("behaviour_logps")

  @property
  def token_logps(self) -> Array:
    """[B, K, T] `logps` token by token, 0 behind the completion's end."""
    return self._get("token_logps")

  @property
  def ref_token_logps(self) -> Array:
    """[B, K, T] the same under the reference; no gradient."""
    return self._get("ref_token_logps")

  @property
  def behaviour_token_logps(self) -> Array:
    """[B, K, T] the same under the logging policy; no gradient."""
    return self._get("behaviour_token_logps")

  @property
  def token_kls(self) -> Array:
    """[B, K, T] KL(pi_ref || pi) of each token, over the vocabulary; nats."""
    return self._get("token_kls")

  @property
  def token_mask(self) -> Array:
    """[B, K, T] bool, True on completion tokens, EOS included.

    What other token columns hold where it is False means nothing.
    """
    return self._get("token_mask")

  @property
  def token_values(self) -> Array:
    """[B, K, T] V of the prompt and the tokens before each token."""
    return self._get("token_values")

  @property
  def token_rewards(self) -> Array:
    """[B, K, T] feedback on each token, as logged."""
    return self._get("token_rewards")

  @property
  def token_weights(self) -> Array:
    """[B, K, T] how much each token counts, as logged."""
    return self._get("token_weights")

  @property
  def old_token_values(self) -> Array:
    """[B, K, T] `token_values` when completions were written; no gradient."""
    return self._get("old_token_values")

  @property
  def prefix_logps(self) -> Array:
    """[B, K] sums of as many tokens as the row's shortest completion has."""
    return self._get("prefix_logps")

  @property
  def ref_prefix_logps(self) -> Array:
    """[B, K] the same under the reference; no gradient."""
    return self._get("ref_prefix_logps")

  @property
  def log_collisions(self) -> Array:
    """[B, K] sums over tokens of log sum_v p(v)^2; no gradient."""
    return self._get("log_collisions")

  @property
  def lengths(self) -> Array:
    """[B, K] completion tokens under the mask that `logps` sums over."""
    return self._get("lengths")

  @property
  def values(self) -> Array:
    """[B, 1] V(x), or [B, K] where a value sees the completion."""
    return self._get("values")

  @property
  def rewards(self) -> Array:
    """[B, K] scalar feedback on each completion."""
    return self._get("rewards")

  @property
  def margins(self) -> Array:
    """[B] of pairs: how much better the chosen completion was rated.

    In the units of the logged scores, normalised or not.
    """
    return self._get("margins")

  @property
  def labels(self) -> Array:
    """[B, K] bool, True = desirable."""
    return self._get("labels")

  @property
  def weight(self) -> Array:
    """[B] how much a row counts; 0 marks padding. For `whole_batch` losses.

    The learner applies the weights; a loss that sorts or counts rows must
    leave out those of weight 0.
    """
    return self._get("weight")

  @property
  def state(self) -> Any:
    """What the loss remembers, see `losses.base.State`; no gradient."""
    return self._get("state")

  @property
  def kl(self) -> Array:
    """[] mean log-ratio of mismatched pairs of the global batch; unclamped.

    Carries no gradient.
    """
    return self._get("kl")

  @property
  def reward_mean(self) -> Array:
    """[] mean reward over the completions of the global batch."""
    return self._get("reward_mean")

  @property
  def length_mean(self) -> Array:
    """[] mean completion length over the global batch; tokens."""
    return self._get("length_mean")

  @property
  def desirable_length_mean(self) -> Array:
    """[] mean of label * length over the global batch; tokens."""
    return self._get("desirable_length_mean")

  @property
  def chosen_length_mean(self) -> Array:
    """[] mean length of completion 0 over the global batch; tokens."""
    return self._get("chosen_length_mean")


COLUMNS = (
  "ref_logps",
  "behaviour_logps",
  "token_logps",
  "ref_token_logps",
  "behaviour_token_logps",
  "token_kls",
  "token_mask",
  "token_values",
  "token_rewards",
  "token_weights",
  "old_token_values",
  "prefix_logps",
  "ref_prefix_logps",
  "log_collisions",
  "lengths",
  "values",
  "rewards",
  "margins",
  "labels",
  "kl",
  "reward_mean",
  "length_mean",
  "desirable_length_mean",
  "chosen_length_mean",
  "weight",
)
"""Every column a loss may declare; `logps` is always there."""

BY_TOKEN = (
  "token_logps",
  "ref_token_logps",
  "behaviour_token_logps",
  "token_kls",
  "token_mask",
  "token_values",
  "token_rewards",
  "token_weights",
  "old_token_values",
)
"""The columns that are [B, K, T]."""

LEARNED = (
  "logps",
  "prefix_logps",
  "values",
  "token_logps",
  "token_kls",
  "token_values",
)
"""The columns that gradients flow through."""


@struct.dataclass
class LossOutput:
  """What a loss returns.

  Attributes:
    values: [B] unreduced losses; the learner takes their weighted mean.
    metrics: name -> [B] or [B, K]; NaN where a metric does not apply to a
      row, which leaves that entry out of the metric's mean.
  """

  values: Array
  metrics: Mapping[str, Array] = struct.field(default_factory=dict)
