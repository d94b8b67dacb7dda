"""What DRO-V learns from one completion a prompt as its value grows.

python -m benchmarks.one_completion --out=DIR

Theorem 1 of the DRO paper (arXiv:2405.19107) asks that the data's policy has
every completion that the reference has, for every prompt. A log with one
completion a prompt does not, and V(x) = r(x, y) with pi = pi_ref makes the loss
0. What stands between is that V cannot fit every prompt, or not as soon as the
policy. Here its capacity is the number of random features that V is linear in;
the policy is linear in the prompt itself, as the optimum is. `DIR` gets
rows.jsonl and one_completion.png.

Above 300 lines: world, model, measure and figure of one experiment.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.bandit_world import log_softmax, logsumexp
from offalign import losses
from offalign.distributed import sharding
from offalign.files import write_atomically
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.models.base import Hidden, Model
from offalign.pages.figures import STYLE
from offalign.types import Array, Batch, Params

CASES = ((1, 1), (1, 30), (4, 30))
"""Completions a prompt (`LOGGED` in all), and V's rate over the policy's."""
FEATURES = (0, 256, 1024, 4096)
"""Random features of the prompt that V is linear in; 0 = one V for all."""
EPOCHS = (10, 30, 100, 300, 1000)
"""Passes over the log, each one step on all of it, at which to measure."""
SEEDS = 5
LOGGED = 512
FRESH = 2000

_NUMBERS, _ARMS, _TAU = 6, 8, 1.0
_RATE = 1e-3  # of the policy, under Adam


@dataclasses.dataclass(frozen=True)
class World:
  """A log, and fresh prompts on which the policy is judged.

  Rewards have mean 0 and variance 1; half of the variance lies between prompts
  and is a curved function of the prompt. The reference is linear in the prompt
  and the reward's other half too, so that the optimum is.

  Attributes:
    prompts: [B, D] of the log, a 1 and then numbers.
    arms: [B, K], drawn from the reference.
    rewards: [B, K].
    reference: [D, Y] weights of the reference's logits.
    fresh: [F, D].
    fresh_rewards: [F, Y].
  """

  prompts: np.ndarray
  arms: np.ndarray
  rewards: np.ndarray
  reference: np.ndarray
  fresh: np.ndarray
  fresh_rewards: np.ndarray


def make(completions: int, seed: int, logged: int = LOGGED) -> World:
  """Draws a world whose log has `logged` completions in all."""
  rng = np.random.default_rng(seed)
  reference = 0.5 * rng.normal(size=(_NUMBERS + 1, _ARMS))
  slopes = rng.normal(size=(_NUMBERS + 1, _ARMS))
  waves = rng.normal(size=(_NUMBERS, 4))
  count = logged // completions
  prompts = rng.normal(size=(count + FRESH, _NUMBERS))
  between = np.sin(prompts @ waves).sum(axis=1, keepdims=True)
  prompts = np.concatenate([np.ones((len(prompts), 1)), prompts], axis=1)
  policy = np.exp(log_softmax(prompts @ reference))
  within = prompts @ slopes
  within -= (policy * within).sum(axis=1, keepdims=True)
  within /= np.sqrt((policy * within**2).sum(axis=1).mean())
  rewards = (between - between.mean()) / between.std() + within
  rewards /= np.sqrt(2.0)
  edges = policy[:count].cumsum(axis=1)[:, None, :]
  drawn = rng.random((count, completions, 1))
  arms = np.minimum((drawn > edges).sum(axis=2), _ARMS - 1)
  return World(
    prompts=prompts[:count],
    arms=arms,
    rewards=np.take_along_axis(rewards[:count], arms, axis=1),
    reference=reference,
    fresh=prompts[count:],
    fresh_rewards=rewards[count:],
  )


def random_features(world: World, count: int, seed: int) -> np.ndarray:
  """sqrt(2 / m) cos(w x + b) of the log's prompts: [B, m], or one zero."""
  rng = np.random.default_rng(1000 + seed)
  if not count:
    return np.zeros((len(world.prompts), 1))
  directions = rng.normal(size=(_NUMBERS, count))
  phases = rng.uniform(0, 2 * np.pi, count)
  waves = np.cos(world.prompts[:, 1:] @ directions + phases)
  return np.sqrt(2 / count) * waves


def featured(policy_features: Array, value_features: Array) -> Model:
  """A policy linear in some features of a prompt, and V in others.

  Args:
    policy_features: [N, D] by prompt, which is one token, its number.
    value_features: [N, m].
  """

  def state(params: Params, prompts: Array, prompt_mask: Array) -> Array:
    return value_features[prompts[:, 0]]

  def hidden(
    params: Params,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    rows = policy_features[prompts[:, 0]][:, None, None, :]
    shape = (*completions.shape, policy_features.shape[1])
    values = state(params, prompts, prompt_mask)
    return Hidden(values, jnp.broadcast_to(rows, shape))

  def absent(*args: Any) -> Any:
    raise NotImplementedError("a bandit's completions have one token")

  return Model(
    spec="featured",
    vocab_size=_ARMS,
    width=value_features.shape[1],
    init=absent,
    hidden=hidden,
    prompt_state=state,
    unembedding=lambda params: params["table"],
    prefill=absent,
    decode=absent,
  )


def train(
  worlds: Sequence[World], features: int, speed: float, epochs: int
) -> tuple[np.ndarray, np.ndarray]:
  """Trains DRO-V on each world's log, all at once.

  Args:
    worlds: of one shape.
    features: of the value.
    speed: the value's learning rate over the policy's.
    epochs: passes over the log.

  Returns:
    After each pass, the policy's weights [n, epochs, D, Y]; and before it, the
    mean square of r - V - tau rho, [n, epochs].
  """
  loss = losses.get("dro_v", tau=_TAU)
  optimizer = OptimizerConfig(
    learning_rate=_RATE,
    value_learning_rate=_RATE * speed,
    warmup_steps=0,
    clip_norm=0.0,
  )
  config = LearnerConfig(value=ValueConfig(), optimizer=optimizer, steps=epochs)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])

  def one(prompts: Array, waves: Array, start: Array, batch: Batch) -> Any:
    learner = Learner(loss, featured(prompts, waves), config, mesh)
    policy = {"table": start}

    def step(state: Any, _: None) -> tuple[Any, Any]:
      state, metrics = learner.step(state, batch, policy)
      return state, (
        state.params["policy"]["table"],
        2 * metrics["losses"].mean(),
      )

    return jax.lax.scan(step, learner.fresh(policy), length=epochs)[1]

  waves = [random_features(w, features, i) for i, w in enumerate(worlds)]
  with jax.enable_x64(True):
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(as_batch, worlds))
    prompts, start = (
      jnp.stack([getattr(w, name) for w in worlds])
      for name in ("prompts", "reference")
    )
    found = jax.jit(jax.vmap(one))(prompts, jnp.stack(waves), start, stacked)
    tables, residuals = jax.device_get(found)
  return tables, residuals


def as_batch(world: World) -> Batch:
  """The log as one batch; a prompt is one token, its number."""
  count = len(world.prompts)
  shape = (*world.arms.shape, 1)
  ref = log_softmax(world.prompts @ world.reference)
  return Batch(
    prompts=jnp.arange(count)[:, None],
    prompt_mask=jnp.ones((count, 1), bool),
    completions=jnp.asarray(world.arms).reshape(shape),
    completion_mask=jnp.ones(shape, bool),
    weight=jnp.ones(count),
    rewards=jnp.asarray(world.rewards),
    ref_logps=jnp.asarray(np.take_along_axis(ref, world.arms, axis=1)),
  )


def judge(
  world: World, logits: np.ndarray, tau: float = _TAU
) -> dict[str, float]:
  """KL from the reference, and the share of the possible gain, when fresh.

  Args:
    world: whose fresh prompts are answered.
    logits: [F, Y] of the policy on them.
    tau: of the objective.

  Returns:
    "kl" in nats; "gain", (J - J_ref) / (J* - J_ref) for J = E r - tau KL: 0 for
    the reference, 1 for the optimum.
  """
  ref = log_softmax(world.fresh @ world.reference)
  policy = log_softmax(logits)
  kl = (np.exp(policy) * (policy - ref)).sum(axis=1).mean()
  base = (np.exp(ref) * world.fresh_rewards).sum(axis=1).mean()
  reward = (np.exp(policy) * world.fresh_rewards).sum(axis=1).mean()
  best = tau * logsumexp(ref + world.fresh_rewards / tau).mean()
  gain = (reward - tau * kl - base) / (best - base)
  return {"kl": float(kl), "gain": float(gain)}


def rows(
  cases: Iterable[tuple[int, float]] = CASES,
  features: Sequence[int] = FEATURES,
  epochs: Sequence[int] = EPOCHS,
  seeds: int = SEEDS,
) -> Iterator[dict[str, Any]]:
  """One row for each cell: what was varied, residual, KL and gain.

  Args:
    cases: (completions a prompt, the value's rate over the policy's).
    features: of the value.
    epochs: at which to measure.
    seeds: worlds of each case.
  """
  for k, speed in cases:
    worlds = [make(k, seed) for seed in range(seeds)]
    for count in features:
      tables, residuals = train(worlds, count, speed, max(epochs) + 1)
      for seed, world in enumerate(worlds):
        for epoch in epochs:
          found = judge(world, world.fresh @ tables[seed, epoch - 1])
          left = residuals[seed, epoch] / world.rewards.var()
          yield {
            "completions": k,
            "speed": speed,
            "features": count,
            "epochs": epoch,
            "seed": seed,
            "residual": round(float(left), 6),
            **{name: round(value, 5) for name, value in found.items()},
          }


def draw(found: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
  """Draws residual, KL and gain over epochs, a line for each capacity."""
  import matplotlib
  from matplotlib.figure import Figure

  panels = (
    ("residual", "residual, share of the reward's variance"),
    ("kl", "KL from the reference, nats"),
    ("gain", "share of the possible gain"),
  )
  kinds = sorted({(row["completions"], row["speed"]) for row in found})
  counts = sorted({row["features"] for row in found})
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(12, 2.8 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), len(panels), squeeze=False)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(counts)))
    for line, (k, speed) in zip(axes, kinds, strict=True):
      for axis, (name, title) in zip(line, panels, strict=True):
        for count, colour in zip(counts, colours, strict=True):
          x, y = _means(found, name, (k, speed, count))
          axis.plot(x, y, "o-", ms=3, color=colour, label=str(count))
        axis.set_xscale("log")
        axis.set_ylim(bottom=0.0)
        per = "one completion" if k == 1 else f"{k} completions"
        axis.set_title(
          f"{per} a prompt, V's rate x{speed:g}\n{title}", fontsize=9
        )
    for axis in axes[-1]:
      axis.set_xlabel("passes over the log")
    axes[0][0].legend(title="features of V", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="white")


def _means(
  found: Sequence[dict[str, Any]], name: str, cell: tuple[int, float, int]
) -> tuple[list[int], list[float]]:
  """Epochs, and the mean over seeds of a column at each."""
  cells: dict[int, list[float]] = {}
  for row in found:
    if (row["completions"], row["speed"], row["features"]) == cell:
      cells.setdefault(row["epochs"], []).append(row[name])
  epochs = sorted(cells)
  return epochs, [float(np.mean(cells[epoch])) for epoch in epochs]


def save(
  about: str | None, name: str, made: Iterator[dict[str, Any]]
) -> tuple[pathlib.Path, list[dict[str, Any]]]:
  """Makes the rows and writes them to the folder that --out names.

  Args:
    about: of the program.
    name: of the folder, within results/, where none is named.
    made: the rows.

  Returns:
    The folder, and the rows.
  """
  parser = argparse.ArgumentParser(description=about)
  parser.add_argument("--out", default=f"results/{name}")
  out = pathlib.Path(parser.parse_args().out)
  out.mkdir(parents=True, exist_ok=True)
  found = list(made)
  text = "".join(json.dumps(row) + "\n" for row in found)
  write_atomically(out / "rows.jsonl", text)
  return out, found


def main() -> None:
  """Runs every cell, and writes the rows and the figure."""
  out, found = save(__doc__, "one_completion", rows())
  draw(found, out / "one_completion.png")
  print(f"{len(found)} rows: {out / 'rows.jsonl'}")


if __name__ == "__main__":
  main()
