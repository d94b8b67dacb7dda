"""`Model`: what every model is to the rest of the library, pure functions.

A model is a frozen bundle of functions over a params pytree (nested dicts of
arrays). No module system is visible outside `offalign/models`: the learner,
optax, orbax and the tests see only dicts.

Conventions that every model keeps:
  * Leaves under a key that begins with "layers" are stacked: their leading
    axis is the layer. (Adafactor's statistics are per layer; see optim.py.)
  * Activations follow the dtype of the params; norms, softmax and log-probs
    are computed in float32.
  * Masks are explicit; a token is never padding because of its id. Padding
    of the prompt on either side, or of the completions on the right, in any
    amount, changes nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from offalign.distributed.sharding import Split
from offalign.types import Array, Packed, Params

Remat = Literal["none", "block", "dots"]
"""What the backward pass recomputes of each layer, to save memory: nothing,
all of it, or all but the products of activations with weights."""


class Hidden(NamedTuple):
  """Hidden states of the last layer, after the final norm.

  Attributes:
    prompt: [B, d] a state that depends on the prompt alone; for value heads.
    completions: [B, K, T, d], or [G, R, C, d] for a `Packed` batch. Each
      state predicts the completion token at its own index (it is the state
      *before* that token), and is scaled so that `completions @ unembedding`
      are the logits, before the model's `softcap`.
  """

  prompt: Array
  completions: Array


class Counted(NamedTuple):
  """How much each token counts in the balance of a mixture of experts.

  Attributes:
    prompts: [B, P], or [G, R, P] for a `Packed` batch; 0 on padding.
    completions: [B, K, T], or [G, R, C]; 0 on padding.
  """

  prompts: Array
  completions: Array


class Routed(NamedTuple):
  """What the routers of a mixture of experts did, summed over its layers.

  Attributes:
    counts: [E] how often an expert was chosen; no gradient.
    mass: [E] the sum of the probabilities that routers gave an expert.
  """

  counts: Array
  mass: Array


class HiddenFn(Protocol):
  """Scores K completions of each prompt; the prompt is processed once."""

  def __call__(
    self,
    params: Params,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    """[B, P], [B, P], [B, K, T], [B, K, T] -> `Hidden`."""


@dataclasses.dataclass(frozen=True)
class Routing:
  """How a mixture of experts is watched; see `offalign.learner.balance`.

  Attributes:
    experts: E, in each layer that has any.
    chosen: k, the experts that a token takes.
    balance: weight of the load-balancing loss, as the checkpoint has it.
    hidden: `Model.hidden` with `Counted` as its last argument -> (`Hidden`,
      `Routed`).
    hidden_packed: `Model.hidden_packed` likewise.
  """

  experts: int
  chosen: int
  balance: float
  hidden: Callable[..., tuple[Hidden, Routed]]
  hidden_packed: Callable[..., tuple[Hidden, Routed]]


@dataclasses.dataclass(frozen=True)
class Encoder:
  """The encoder of a model by itself, which reads prompts alone.

  Attributes:
    params: the model's params, or adapters on them -> those of the encoder.
    state: (params of the encoder, prompts [B, P], prompt_mask) -> [B, d], the
      mean of the encoder's states over the prompt's tokens.
    state_packed: (params of the encoder, packed) -> [B, d], as `state`; None
      where it cannot run packed rows.
  """

  params: Callable[[Params], Params]
  state: Callable[[Params, Array, Array], Array]
  state_packed: Callable[[Params, Packed], Array] | None = None


@dataclasses.dataclass(frozen=True)
class Model:
  """A policy, or the trunk of a value network.

  Attributes:
    spec: the model's spec string, e.g. "t5(width=48)", as in checkpoints and
      reports.
    vocab_size: V.
    width: d.
    init: rng -> params.
    hidden: see `HiddenFn`.
    prompt_state: (params, prompts [B, P], prompt_mask) -> [B, d], equal to
      `hidden(...).prompt`, without running the completions.
    unembedding: params -> [d, V].
    prefill: (params, prompts [B, P], prompt_mask, max_new) -> (cache, state
      [B, d] that predicts the first new token).
    decode: (params, cache, tokens [B]) -> (cache, state [B, d] that predicts
      the token after `tokens`); for at most max_new tokens a row.
    rows: (cache) -> the same cache, whose leaves all have the leading axis B,
      so that rows can be put into it while others go on, those of a shorter
      prompt with zeros at the end of their axes; `decode` then takes
      weights of `offalign.models.apart.split_params`, in its place those of
      `params`. None for a model that decodes whole batches alone.
    extend: (params, cache of `prefill`, tokens [B, C], mask) -> (cache, state),
      as if the prompts had been longer by these tokens, padded on the right;
      a row without any has a state that means nothing. None for a model whose
      prompts only run whole.
    softcap: the bound on the logits, see
      `offalign.models.chunked_softmax.soft_cap`; None = no bound.
    max_positions: the longest prompt and completion together, in tokens, that
      it was made for; None where it has no bound.
    splits: how the params are split over the mesh's "tensor" axis, by the ends
      of their paths; empty for a model without tensor parallelism.
    rematted: remat -> the same model with that `Remat`; None for a model
      without layers.
    attending: how attention is computed -> the same model with that
      `offalign.models.attending.AttentionPath`; None for a model that does not
      choose.
    no_kernel: (platform, mesh or None) -> why no kernel of these devices
      computes its attention, a clause, or None where one does; None for a
      model that knows of none.
    hidden_packed: (params, packed) -> `Hidden`, the same states that `hidden`
      gives for the same tokens; None for a model that cannot run packed rows.
    prompt_state_packed: (params, packed) -> [B, d], as `prompt_state`; None
      for a model that cannot run packed rows.
    routing: how its routers are watched; None for a model without experts.
    encoder: its encoder by itself; None for a model without one.
  """

  spec: str
  vocab_size: int
  width: int
  init: Callable[[Array], Params]
  hidden: HiddenFn
  prompt_state: Callable[[Params, Array, Array], Array]
  unembedding: Callable[[Params], Array]
  prefill: Callable[[Params, Array, Array, int], tuple[Any, Array]]
  decode: Callable[[Params, Any, Array], tuple[Any, Array]]
  rows: Callable[[Any], Any] | None = None
  extend: Callable[[Params, Any, Array, Array], tuple[Any, Array]] | None = None
  softcap: float | None = None
  max_positions: int | None = None
  splits: Mapping[str, Split] = dataclasses.field(
    default_factory=dict, hash=False
  )
  rematted: Callable[[Remat], "Model"] | None = None
  attending: Callable[[Any], "Model"] | None = None
  no_kernel: Callable[[str, Any], str | None] | None = None
  hidden_packed: Callable[[Params, Packed], Hidden] | None = None
  prompt_state_packed: Callable[[Params, Packed], Array] | None = None
  routing: Routing | None = None
  encoder: Encoder | None = None
