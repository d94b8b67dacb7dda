"""Where the time of our own step goes, part by part."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.throughput.cases import Case
from benchmarks.throughput.worker_offalign import batch, learner_for, weights
from offalign.distributed import sharding
from offalign.learner import optim
from offalign.models import logps
from offalign.training.metrics import finish
from offalign.types import Batch, Params

ROUNDS = 7


def breakdown(case: Case, rounds: int = ROUNDS) -> dict[str, float]:
  """Seconds by part, from compiled pieces of the step timed in turn.

  A backward pass is what forward and backward take beyond the forward. The
  pieces compile apart, so XLA may fuse less or more than in the whole step;
  what they do not explain is the last part, and may be below zero.
  """
  learner, optimizer = learner_for(case)
  model, host = learner.model, batch(case, 0)
  policy = weights(case, learner)
  rows = sharding.put_batch(learner.mesh, host)

  def states(p: Params, b: Batch) -> jax.Array:
    masks = b.prompt_mask, b.completion_mask
    hidden = model.hidden(p, b.prompts, masks[0], b.completions, masks[1])
    return hidden.completions

  def head(w: jax.Array, h: jax.Array) -> jax.Array:
    return logps.token_logps(h, w, rows.completions, softcap=model.softcap)

  hidden = jax.jit(states)(policy, rows)
  table = model.unembedding(policy)
  transforms = optim.make(optimizer, value=False, steps=1000)
  grads = {"policy": policy}
  opt_state = {"policy": transforms["policy"].init(policy)}

  @jax.jit
  def update(g: Params, o: Any, p: Params) -> Any:
    return optim.update(transforms, g, o, p)

  forward, project = jax.jit(states), jax.jit(head)
  both = jax.jit(jax.grad(lambda p, b: states(p, b).sum()))
  project_both = jax.jit(
    jax.grad(lambda w, h: head(w, h).sum(), argnums=(0, 1))
  )
  state = learner.init(policy)

  def step() -> Any:
    nonlocal state
    state, metrics = learner.train_step(state, rows)
    return metrics

  def work() -> Any:
    made = batch(case, 1)
    return sharding.put_batch(learner.mesh, made)

  metrics = step()
  timed: dict[str, Callable[[], Any]] = {
    "forward": lambda: forward(policy, rows),
    "both": lambda: both(policy, rows),
    "project": lambda: project(table, hidden),
    "project both": lambda: project_both(table, hidden),
    "update": lambda: update(grads, opt_state, {"policy": policy}),
    "host": work,
    "finish": lambda: jnp.float32(finish(metrics)["loss"]),
    "step": step,
  }
  if "kl" in learner.loss.needs:
    timed["score"] = lambda: learner.score(policy, rows)
  return _parts(_median_seconds(timed, rounds))


def _parts(t: dict[str, float]) -> dict[str, float]:
  """Names and differences for the report."""
  parts = {
    "hidden states, forward": t["forward"],
    "hidden states, backward": t["both"] - t["forward"],
    "log-probs, forward": t["project"],
    "log-probs, backward": t["project both"] - t["project"],
    "optimiser": t["update"],
  }
  if "score" in t:
    parts["mismatched pairs, under the policy"] = t["score"]
  parts["the rest (values, fusion, clipping)"] = t["step"] - sum(parts.values())
  parts["host: making and moving the batch, metrics"] = t["host"] + t["finish"]
  return parts


def _median_seconds(
  timed: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, float]:
  """Medians of turns taken in turn; the first is not counted."""
  seconds: dict[str, list[float]] = {name: [] for name in timed}
  for _ in range(rounds + 1):
    for name, fn in timed.items():
      began = time.perf_counter()
      jax.block_until_ready(fn())
      seconds[name].append(time.perf_counter() - began)
  return {name: statistics.median(s[1:]) for name, s in seconds.items()}
