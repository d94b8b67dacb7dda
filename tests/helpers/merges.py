"""Runs that were not trained, with weights of their own, to merge."""

import dataclasses

import jax
import numpy as np
import runs
import tiny_folders

from offalign.policy.merging.sources import flat
from offalign.policy.policy import Policy
from offalign.training.run import Run


def write(log, folder, noise=0, steps=(0,), **changes):
  """A run folder whose weights are those of seed 0 and some noise.

  Args:
    log: the data.
    folder: the run folder.
    noise: seed of the noise; 0 = none; -1 = numbers that are not finite.
    steps: of the checkpoints.
    changes: see `runs.config`; of `runs.flags` names.
  """
  run = Run(runs.config(log, folder, keep=9, **changes))
  for step in steps:
    tiny_folders.keep_untrained(run, lambda s, t=step: noisy(s, noise, t), 9)
  return folder


def noisy(state, seed, step):
  """A state at a step, its params with noise where the seed is not 0."""
  rng = np.random.default_rng([abs(seed), step])

  def near(x):
    if seed < 0:
      return x * np.nan
    return x + np.float32(0.05 * (seed > 0) * rng.normal(size=x.shape))

  params = jax.tree.map(near, state.params)
  return dataclasses.replace(
    state, params=params, step=np.int32(step) + 0 * state.step
  )


def weights(folder, step="newest"):
  """The policy's weights of a run folder, name -> float64."""
  found = flat(Policy.load(folder, step).params)
  return {name: x.astype(np.float64) for name, x in found.items()}
