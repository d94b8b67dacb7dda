"""Which attention a device's own kernel computes, and why not the rest.

The kernel is splash attention, of TPUs. It serves a prompt with its
completions as one sequence, whose mask is known before any data are
(`offalign.models.splash`). Neither position biases nor masks made of data,
as those of packed rows, are such masks.

On GPUs no kernel serves: cuDNN, by `jax.nn.dot_product_attention`, takes such
a mask as a bias of [S, S] numbers alone, and bounds no scores.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from offalign.distributed import sharding

INTERPRETED = False
"""Whether the kernel is interpreted on devices other than TPUs; for tests."""
LARGEST_HEAD = 256
"""Most numbers of a head; the kernel was compiled for 8 to 256."""


class Heads(NamedTuple):
  """Heads of an attention.

  Attributes:
    queries: H.
    keys: G, heads of keys and values.
    size: D.
  """

  queries: int
  keys: int
  size: int


class Shared(NamedTuple):
  """Sizes of attention over prompts and their completions.

  Attributes:
    rows: B.
    prompt: P.
    completions: K.
    completion: T.
    dtype: that of queries, keys and values.
  """

  rows: int
  prompt: int
  completions: int
  completion: int
  dtype: Any


def refusal(
  heads: Heads, platform: str, mesh: Mesh | AbstractMesh | None
) -> str | None:
  """Says why splash attention does not serve a model, at any length.

  Args:
    heads: of the model.
    platform: "cpu", "gpu" or "tpu".
    mesh: the devices, or None for one.

  Returns:
    A clause, or None where it serves.
  """
  if platform != "tpu" and not INTERPRETED:
    return f"splash attention is a kernel of TPUs, and this is a {platform}"
  if heads.size > LARGEST_HEAD:
    return (
      f"splash attention is for heads of up to {LARGEST_HEAD} numbers, and "
      f"these are of {heads.size}"
    )
  n = 1 if mesh is None else mesh.shape["tensor"]
  for count, of in ((heads.queries, ""), (heads.keys, " of keys and values")):
    if count % n:
      return (
        f"splash attention computes whole heads, and tensor={n} does not "
        f"divide {count} heads{of}"
      )
  return None


def refused_rows(
  shared: Shared, mesh: Mesh | AbstractMesh | None
) -> str | None:
  """Says why splash attention does not serve these rows, as `refusal` does."""
  pieces = 1 if mesh is None else sharding.batch_pieces(mesh)
  if shared.rows % pieces:
    return (
      f"splash attention computes whole rows, and {pieces} devices do not "
      f"divide {shared.rows}"
    )
  if shared.dtype not in (jnp.float32, jnp.bfloat16):
    return (
      "splash attention computes in float32 or bfloat16, and not in "
      f"{jnp.dtype(shared.dtype)}"
    )
  return None
