"""What the 1/tau of DRO-V's policy gradient changes, by optimiser.

python -m benchmarks.rescaling --out=DIR

The DRO paper (arXiv:2405.19107) trains the policy with equation 8 times 1/tau,
and `dro_v` does too. `exact` is the loss without that factor. Both train a
small network on the same log, with each optimiser; `DIR` gets rows.jsonl.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import one_completion
from benchmarks.bandit_world import log_softmax
from offalign import losses
from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.losses import Loss
from offalign.models.base import Hidden, Model
from offalign.types import Array, Batch, Params, Scores

TAUS = (0.1, 0.3, 3.0, 10.0)
SEEDS = 5
STEPS = 300
_WIDTH, _RATE = 32, 3e-3


@dataclasses.dataclass(frozen=True)
class Setup:
  """How the two are trained.

  Attributes:
    name: for the table.
    optimizer: of policy and value.
    value: the value function.
  """

  name: str
  optimizer: OptimizerConfig
  value: ValueConfig = dataclasses.field(default_factory=ValueConfig)


def _optimizer(name: Any, clip_norm: float = 0.0) -> OptimizerConfig:
  return OptimizerConfig(
    name=name, learning_rate=_RATE, warmup_steps=0, clip_norm=clip_norm
  )


SETUPS = (
  Setup("adam", _optimizer("adam")),
  Setup("adafactor", _optimizer("adafactor")),
  Setup("adam, clip_norm=0.1", _optimizer("adam", 0.1)),
  Setup("adafactor, clip_norm=0.1", _optimizer("adafactor", 0.1)),
  Setup("adam, shared", _optimizer("adam"), ValueConfig(network="shared")),
)
"""The norm to clip at is one that this small network's gradients exceed."""


def _exact(scores: Scores, *, tau: float = 1.0) -> Array:
  """Equation 4, differentiated as it stands."""
  delta = scores.rewards - scores.values - tau * scores.log_ratios
  return 0.5 * jnp.square(delta).mean(axis=1)


def exact(tau: float) -> Loss:
  """`dro_v` whose policy gradient is equation 8 as printed."""
  definition = losses.definition("dro_v")
  return dataclasses.replace(definition, fn=_exact).bind({"tau": tau})


def layered(features: Array) -> Model:
  """A policy of one hidden layer, whose states a value head reads too.

  Args:
    features: [N, D] by prompt, which is one token, its number.
  """

  def state(params: Params, prompts: Array, prompt_mask: Array) -> Array:
    return jnp.tanh(features[prompts[:, 0]] @ params["layer"])

  def hidden(
    params: Params,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    states = state(params, prompts, prompt_mask)
    shape = (*completions.shape, _WIDTH)
    return Hidden(states, jnp.broadcast_to(states[:, None, None, :], shape))

  def absent(*args: Any) -> Any:
    raise NotImplementedError("a bandit's completions have one token")

  return Model(
    spec="layered",
    vocab_size=8,
    width=_WIDTH,
    init=absent,
    hidden=hidden,
    prompt_state=state,
    unembedding=lambda params: params["table"],
    prefill=absent,
    decode=absent,
  )


def worlds(seeds: int = SEEDS) -> list[one_completion.World]:
  """Logs of four completions a prompt, to a reference that is uniform."""
  made = [one_completion.make(4, seed) for seed in range(seeds)]
  return [
    dataclasses.replace(w, reference=np.zeros_like(w.reference)) for w in made
  ]


def train(
  made: Sequence[one_completion.World],
  loss: Loss,
  setup: Setup,
  steps: int = STEPS,
) -> list[np.ndarray]:
  """Trains on each log; returns the logits [F, Y] on its fresh prompts."""
  size = (made[0].prompts.shape[1], _WIDTH)
  layer = 0.4 * np.random.default_rng(7).normal(size=size)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  config = LearnerConfig(
    value=setup.value, optimizer=setup.optimizer, steps=steps
  )

  def run(start: Params, prompts: Array, batch: Batch) -> Params:
    learner = Learner(loss, layered(prompts), config, mesh)
    state, _ = jax.lax.scan(
      lambda state, _: (learner.step(state, batch, start)[0], None),
      learner.fresh(start),
      length=steps,
    )
    return state.params["policy"]

  with jax.enable_x64(True):
    table = jnp.zeros((_WIDTH, made[0].fresh_rewards.shape[1]))
    start = {"layer": jnp.asarray(layer), "table": table}
    batches = [one_completion.as_batch(w) for w in made]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)
    prompts = jnp.stack([w.prompts for w in made])
    many = jax.vmap(run, in_axes=(None, 0, 0))
    found = jax.device_get(jax.jit(many)(start, prompts, stacked))
  return [
    np.tanh(w.fresh @ found["layer"][i]) @ found["table"][i]
    for i, w in enumerate(made)
  ]


def rows(
  setups: Sequence[Setup] = SETUPS,
  taus: Sequence[float] = TAUS,
  seeds: int = SEEDS,
  steps: int = STEPS,
) -> Iterator[dict[str, Any]]:
  """One row for each cell: both gains, and the KL between both policies.

  Gains are shares of what is to be gained at that tau. "apart" is KL(exact ||
  rescaled) in nats, a mean over fresh prompts.
  """
  made = worlds(seeds)
  for setup in setups:
    for tau in taus:
      scaled = train(made, losses.get("dro_v", tau=tau), setup, steps)
      plain = train(made, exact(tau), setup, steps)
      for seed, world in enumerate(made):
        ours, theirs = map(log_softmax, (scaled[seed], plain[seed]))
        apart = (np.exp(theirs) * (theirs - ours)).sum(axis=1).mean()
        yield {
          "setup": setup.name,
          "tau": tau,
          "seed": seed,
          "rescaled": round(one_completion.judge(world, ours, tau)["gain"], 4),
          "exact": round(one_completion.judge(world, theirs, tau)["gain"], 4),
          "apart": float(f"{apart:.2g}"),
        }


def main() -> None:
  """Runs every cell, writes the rows and prints their means."""
  _, found = one_completion.save(__doc__, "rescaling", rows())
  for setup in SETUPS:
    for tau in TAUS:
      cell = [r for r in found if (r["setup"], r["tau"]) == (setup.name, tau)]
      means = (
        float(np.mean([r[name] for r in cell]))
        for name in ("rescaled", "exact", "apart")
      )
      print(setup.name, tau, *(f"{mean:.3g}" for mean in means), sep=" | ")


if __name__ == "__main__":
  main()
