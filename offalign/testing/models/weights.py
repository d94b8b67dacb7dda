"""Contracts of a model's params: their form, gradients, dtype and splits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign.testing.losses.inputs import require
from offalign.testing.models.case import B, Case
from offalign.types import Params


def params(case: Case) -> None:
  """Params are nested dicts of arrays, and layers are stacked."""
  # Looked at while it is traced: op by op, it would be compiled op by op.
  jax.eval_shape(lambda key: _form(case.model.init(key)), jax.random.key(0))


def _form(made: Params) -> None:
  stacks: dict[str, set[int]] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(made):
    where = jax.tree_util.keystr(path, simple=True, separator="/")
    require(isinstance(leaf, jax.Array), f"{where} is no array")
    require(
      all(isinstance(key, jax.tree_util.DictKey) for key in path),
      f"{where} is not in nested dicts",
    )
    for i, key in enumerate(path):
      if str(getattr(key, "key", "")).startswith("layers"):
        above = jax.tree_util.keystr(path[: i + 1])
        stacks.setdefault(above, set()).add(leaf.shape[0] if leaf.ndim else 0)
  for above, sizes in stacks.items():
    require(
      len(sizes) == 1 and 0 not in sizes,
      f"leaves below {above} have first axes of {sorted(sizes)}: stack layers",
    )


def gradients(case: Case) -> None:
  """Every leaf has a gradient, and rows without tokens have finite ones."""

  def loss(params: Params, kept: np.ndarray) -> Any:
    hidden = case.model.hidden(
      params,
      jnp.asarray(case.rows["prompts"]),
      jnp.logical_and(case.rows["prompt_mask"], kept),
      jnp.asarray(case.rows["completions"]),
      jnp.logical_and(case.rows["completion_mask"], kept[:, None]),
    )
    logits = hidden.completions @ case.model.unembedding(params)
    return jax.nn.log_softmax(logits)[..., 0].sum()

  grad = jax.jit(jax.grad(loss))
  for kept in (True, False):
    found = grad(case.params, np.full((B, 1), kept))
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
      where = jax.tree_util.keystr(path, simple=True, separator="/")
      require(np.isfinite(leaf), f"the gradient of {where} is not finite")
      if kept:
        require(np.abs(leaf).max() > 1e-6, f"nothing depends on {where}")


def precision(case: Case) -> None:
  """bfloat16 params give bfloat16 states near the others."""
  narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), case.params)
  states, wide = case.hidden(narrow).completions, case.hidden().completions
  require(states.dtype == jnp.bfloat16, f"states are {states.dtype}")
  off = np.abs(states.astype(np.float32) - wide).max()
  require(off < 0.2 * wide.std(), f"states are off by {off:.2g}")


def init(case: Case) -> None:
  """First weights depend on the key alone, and differ between layers."""
  a, b, c = (jax.tree.leaves(case.init(seed)) for seed in (1, 1, 2))
  same = [np.array_equal(x, y) for x, y in zip(a, b, strict=True)]
  require(same, "weights of the same key differ")
  moved = [not (x == y).any() for x, y in zip(a, c, strict=True)]
  require(any(moved), "weights of two keys are the same")
  for path, leaf in jax.tree_util.tree_leaves_with_path(case.init(1)):
    where = jax.tree_util.keystr(path)
    if "layers" in where and leaf.ndim == 3 and len(leaf) > 1:
      require(not (leaf[0] == leaf[1]).any(), f"layers share their {where}")


def splits(case: Case) -> None:
  """The table of splits tells of leaves that are there, of their sizes."""
  made = jax.eval_shape(case.model.init, jax.random.key(0))
  sizes = {
    "/" + jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(made)
  }
  met = 0
  for name, split in case.model.splits.items():
    require(
      split.parts > 0 and split.size % split.parts == 0,
      f"{split.parts} {split.of} do not divide the {split.size} of {name}",
    )
    for path, shape in sizes.items():
      longer = [other for other in case.model.splits if len(other) > len(name)]
      if not path.endswith("/" + name) or any(map(path.endswith, longer)):
        continue
      met += 1
      require(
        len(shape) >= -split.axis and shape[split.axis] == split.size,
        f"axis {split.axis} of {path} is not {split.size} long",
      )
  require(met or not case.model.splits, "no entry of the table is a leaf's")
