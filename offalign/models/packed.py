"""Reshaping and indexing of packed batches; see `offalign.types.Packed`."""

import jax
import jax.numpy as jnp
from einops import rearrange

from offalign.errors import UserError
from offalign.types import Array, Packed


def rows(tokens: Array) -> Array:
  """Flattens groups of rows: [G, R, S] -> [G * R, S]."""
  return rearrange(tokens, "g r s -> (g r) s")


def groups(states: Array, packed: Packed) -> Array:
  """Groups the rows again: [G * R, S, d] -> [G, R, S, d]."""
  return rearrange(states, "(g r) s d -> g r s d", g=packed.prompts.shape[0])


def owners(packed: Packed) -> Array:
  """The prompt that each completion token belongs to, int [G, R, C].

  Prompts are numbered as in `Packed.prompt_owner`.
  """
  return (packed.segment - 1) // packed.begin.shape[1] + 1


def by_group(packed: Packed, column: Array) -> Array:
  """Splits a column into groups: [B, ...] -> [G, B / G, ...]."""
  return rearrange(
    column,
    "(s e m) ... -> (s m) e ...",
    m=packed.microbatches,
    s=packed.prompts.shape[0] // packed.microbatches,
  )


def by_row(packed: Packed, column: Array) -> Array:
  """Joins the groups of a column: [G, B / G, ...] -> [B, ...]."""
  return rearrange(column, "(s m) e ... -> (s e m) ...", m=packed.microbatches)


def cut(packed: Packed, microbatches: int) -> Packed:
  """Cuts a packed batch into M microbatches; leaves become [M, ...].

  Raises:
    UserError: where it was packed for another number of microbatches.
  """
  if packed.microbatches != microbatches:
    raise UserError(
      f"a batch that was packed for {packed.microbatches} microbatch(es) "
      f"cannot be cut into {microbatches}: pack it for as many"
    )
  pieces = jax.tree.map(
    lambda x: rearrange(x, "(b m) ... -> m b ...", m=microbatches), packed
  )
  return pieces.replace(microbatches=1)


def pick(packed: Packed, states: Array, places: Array) -> Array:
  """Picks one state a prompt: [G, R, S, d] at places [B] -> [B, d].

  A place counts the R * S tokens of the prompt's group.
  """
  states = rearrange(states, "g r s d -> g (r s) d")
  index = by_group(packed, places)[..., None]
  return by_row(packed, jnp.take_along_axis(states, index, axis=1))


def unpack(packed: Packed, numbers: Array, length: int) -> Array:
  """Unpacks one number a token: [G, R, C] -> [B, K, T].

  Past the end of a completion come numbers of the tokens that follow it in
  its row; mask them.
  """
  flat = rearrange(numbers, "g r c -> g (r c)")
  places = packed.begin[..., None] + jnp.arange(length)[None, None]
  places = jnp.minimum(places, flat.shape[1] - 1)
  index = by_group(packed, places)
  _, e, k, t = index.shape
  found = jnp.take_along_axis(
    flat, rearrange(index, "g e k t -> g (e k t)"), axis=1
  )
  found = rearrange(found, "g (e k t) -> g e k t", e=e, k=k, t=t)
  return by_row(packed, found)
