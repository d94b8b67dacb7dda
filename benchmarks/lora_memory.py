"""python -m benchmarks.lora_memory: what a train step holds, with LoRA and not.

The step is compiled for one device and not run, so that a model need not fit
on this machine.
"""

import dataclasses
import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign import models
from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.models.lora import LoraConfig
from offalign.types import Batch

MODEL = "t5(width=768, layers=12, heads=12, head_dim=64, mlp_width=2048)"
VOCABULARY = 32128  # with it, the sizes of Flan-T5 base
LOSS = "dro_v"
SHAPE = (8, 1, 128, 128)  # B, K, P, T


@dataclasses.dataclass(frozen=True)
class Held:
  """Bytes.

  Attributes:
    frozen: weights that do not train.
    state: what trains, and the optimiser's state.
    temporary: all else that is live at one time, gradients and activations.
  """

  frozen: int
  state: int
  temporary: int


def batch() -> Batch:
  """The shapes of a batch."""
  b, k, p, t = SHAPE
  arrays = Batch(
    prompts=np.zeros((b, p), np.int32),
    prompt_mask=np.ones((b, p), bool),
    completions=np.zeros((b, k, t), np.int32),
    completion_mask=np.ones((b, k, t), bool),
    weight=np.ones(b, np.float32),
    rewards=np.zeros((b, k), np.float32),
    ref_logps=np.zeros((b, k), np.float32),
  )
  return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, arrays))


def measure(lora: LoraConfig | None, compute_dtype: Any) -> Held:
  """Compiles a step.

  Args:
    lora: None for one that trains all weights.
    compute_dtype: as `LearnerConfig` has it; frozen weights are kept in it.
  """
  model = models.make(MODEL, vocab_size=VOCABULARY)
  config = LearnerConfig(lora=lora, compute_dtype=compute_dtype)
  learner = Learner(LOSS, model, config, sharding.one_device())
  base = jax.eval_shape(model.init, jax.random.key(0))
  state = jax.eval_shape(learner.fresh, base)
  if lora is not None:
    dtype = compute_dtype or "float32"
    base = jax.tree.map(lambda x: x.update(dtype=jnp.dtype(dtype)), base)
  given = base if lora is not None else None
  compiled = learner.train_step.lower(state, batch(), given).compile()
  total = functools.partial(jax.tree.reduce, lambda n, x: n + _bytes(x))
  return Held(
    frozen=total(given, 0),
    state=total(state, 0),
    temporary=compiled.memory_analysis().temp_size_in_bytes,
  )


def _bytes(leaf: Any) -> int:
  return leaf.size * leaf.dtype.itemsize


def main() -> None:
  """Prints a table, in MB."""
  print("| | frozen | trained + optimiser | temporary |")
  print("| :--- | ---: | ---: | ---: |")
  for name, lora in (("all weights", None), ("LoRA, r = 16", LoraConfig())):
    for dtype in (None, "bfloat16"):
      held = measure(lora, dtype)
      cells = [held.frozen, held.state, held.temporary]
      numbers = " | ".join(f"{x / 1e6:,.0f}" for x in cells)
      print(f"| {name}, {dtype or 'float32'} | {numbers} |")
      sys.stdout.flush()


if __name__ == "__main__":
  main()
