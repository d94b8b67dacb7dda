"""A model with weights and rows, on which its contracts are checked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign import models
from offalign.models.base import Hidden, Model
from offalign.types import Params

V, B, P, K, T = 13, 2, 8, 3, 5


class Case:
  """A model with weights and rows to try it on.

  Attributes:
    model: the model, of a vocabulary of `V` tokens.
    params: its first weights, each a little off, since norms that are 1 hide
      what they do.
    rows: prompts [B, P], prompt_mask, completions [B, K, T] and
      completion_mask; the first prompt ends in padding.
  """

  def __init__(self, model: str | Model):
    """Makes the weights.

    Args:
      model: a spec, or a model of `V` tokens.
    """
    if isinstance(model, str):
      model = models.make(model, vocab_size=V)
    self.model = model
    self._init = jax.jit(model.init)
    self._hidden = jax.jit(model.hidden)
    self.params = _ruffled(self.init(0))
    rng = np.random.default_rng(0)
    prompt_mask = np.ones((B, P), bool)
    prompt_mask[0, 5:] = False
    self.rows: dict[str, np.ndarray] = {
      "prompts": rng.integers(0, V, (B, P)).astype(np.int32),
      "prompt_mask": prompt_mask,
      "completions": rng.integers(0, V, (B, K, T)).astype(np.int32),
      "completion_mask": np.arange(T) < rng.integers(1, T + 1, (B, K, 1)),
    }

  def init(self, seed: int) -> Params:
    """Weights of a seed, on the host."""
    return jax.tree.map(np.asarray, self._init(jax.random.key(seed)))

  def hidden(self, params: Params | None = None, **rows: Any) -> Hidden:
    """The states, on the host; `params` and `rows` replace the case's own."""
    given = (self.rows | rows).values()
    found = self._hidden(self.params if params is None else params, *given)
    return jax.tree.map(np.asarray, found)

  def lowered(self, prompts: Any, completions: Any) -> Any:
    """`hidden` of rows without padding, lowered and not compiled."""
    seen, written = (jnp.ones(x.shape, bool) for x in (prompts, completions))
    given = prompts, seen, completions, written
    return self._hidden.lower(self.params, *given)


def close(a: Any, b: Any) -> bool:
  """Whether states are the same, but for rounding."""
  # Sums over more numbers are rounded more often.
  atol = 2e-6 * max(1.0, (b.shape[-1] / 16) ** 0.5)
  return bool(np.allclose(a, b, atol=atol))


def _ruffled(made: Params) -> Params:
  def off(x: np.ndarray) -> Any:
    wave = np.cos(1.7 * np.arange(x.size, dtype="f")).reshape(x.shape)
    return jnp.asarray(x + 0.1 * wave)

  return jax.tree.map(off, made)
