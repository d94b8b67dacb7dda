"""python -m benchmarks.on_policy: methods on their own samples, to the optimum.

The bandit of the `theory` track, with what rounds do to it: before each round
the completions are drawn anew from the policy, here as exact expectations, and
the loss is minimised on them for a few steps. What each method should end at is
known in closed form, and is not the same for all:

  rloo, ppo      the penalty beta log(pi / pi_ref) is a part of the reward, so
                 their optimum is that of J = E r - beta KL(pi || pi_ref).
  dro_v, rebel   with the reference held, the optimum of J at tau, 1 / eta,
                 whatever the completions are drawn from.
  rebel, moving  with the policy of each round's start as its reference, n
                 rounds end at the optimum of J at tau = 1 / (n eta).
  grpo           the gradient of k3 on the policy's own samples is that of
                 KL(pi_ref || pi), and its advantage is (K - 1) / K of the
                 leave-one-out one, so the optimum is that of
                 E r - beta K / (K - 1) KL(pi_ref || pi).
  distill        at its teacher, which here is the optimum of J at tau = 1.

Regret is (J* - J) / (J* - J_ref) of that objective: 0 at its optimum, 1 for
doing nothing.
"""

import dataclasses
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import bandit_metrics
from benchmarks.bandit_model import tabular
from benchmarks.bandit_world import Bandit, log_softmax, make
from offalign import losses
from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig, TrainState
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.types import Array, Batch, Kind

SEEDS = 4
GOAL = 1e-2
"""The regret that all of them are to be below."""


@dataclasses.dataclass(frozen=True)
class OnPolicy:
  """A method with its rounds.

  Attributes:
    loss: loss spec, at a strength whose optimum is that of tau = 1.
    rounds: how often the completions are drawn anew.
    steps: updates in a round.
    objective: "KL(pi || ref)" or "KL(ref || pi)".
    moving: whether the reference is the policy of the round's start.
    taught: whether it is the optimum of J.
    value: of the losses that need one.
    learning_rate: of policy and value.
  """

  loss: str
  rounds: int = 1500
  steps: int = 1
  objective: str = "KL(pi || ref)"
  moving: bool = False
  taught: bool = False
  value: ValueConfig | None = None
  learning_rate: float = 0.1

  @property
  def name(self) -> str:
    """In the table."""
    how = ", moving reference" if self.moving else ""
    return self.loss + (", taught by the optimum" if self.taught else how)


METHODS = (
  OnPolicy("rloo(beta=1)"),
  OnPolicy("ppo(kl_coef=1, vf_coef=1)"),
  OnPolicy("dro_v(tau=1)", rounds=300, steps=5),
  OnPolicy("rebel(eta=1)", rounds=300, steps=5),
  OnPolicy("rebel(eta=0.1)", rounds=10, steps=300, moving=True),
  # Of pairs: beta K / (K - 1) is 1.
  OnPolicy(
    "grpo(beta=0.5, behaviour=logged, scale_rewards=False)",
    objective="KL(ref || pi)",
  ),
  OnPolicy("distill", taught=True),
)


def train(method: OnPolicy, bandits: Sequence[Bandit]) -> np.ndarray:
  """Trains one method on bandits of one shape, all at once.

  Args:
    method: with its rounds.
    bandits: n of [X, Y].

  Returns:
    Logits [n, X, Y].
  """
  with jax.enable_x64(True):
    loss = losses.get(method.loss)
    refs = jnp.stack([jnp.asarray(b.log_ref) for b in bandits])
    rewards = jnp.stack([jnp.asarray(b.rewards) for b in bandits])
    learner = Learner(
      loss,
      tabular(refs[0]),
      LearnerConfig(
        value=method.value,
        optimizer=OptimizerConfig(
          learning_rate=method.learning_rate,
          warmup_steps=0,
          schedule="cosine",
          clip_norm=0.0,
        ),
        steps=method.rounds * method.steps,
      ),
      sharding.make_mesh(devices=jax.devices()[:1]),
    )

    def one(log_ref: Array, table: Array) -> Array:
      def grown(state: TrainState, _: None) -> tuple[TrainState, None]:
        policy = jax.nn.log_softmax(state.params["policy"]["table"])
        reference = policy if method.moving else log_ref
        if method.taught:
          reference = jax.nn.log_softmax(log_ref + table)
        rows = _rows(loss.kind, table, policy, reference)
        state, _ = jax.lax.scan(
          lambda s, _: (learner.step(s, rows, {"table": reference})[0], None),
          state,
          length=method.steps,
        )
        return state, None

      state = learner.fresh({"table": log_ref})
      state, _ = jax.lax.scan(grown, state, length=method.rounds)
      return state.params["policy"]["table"]

    return np.asarray(jax.jit(jax.vmap(one))(refs, rewards))


def _rows(kind: Kind, table: Array, policy: Array, reference: Array) -> Batch:
  """Every outcome of a round's draws, weighted by its probability.

  Singles are [X * Y, 1], draws of one completion; pairs and groups
  [X * Y * Y, 2], two independent draws.

  Args:
    kind: of the loss.
    table: [X, Y] rewards.
    policy: [X, Y] log-probs that the completions are drawn from.
    reference: [X, Y] log-probs.
  """
  each = 1 if kind is Kind.SINGLE else 2
  prompts, arms = table.shape
  index = jnp.indices((prompts, *[arms] * each)).reshape(1 + each, -1)
  x, y = index[0], index[1:].T
  drawn, held = policy[x[:, None], y], reference[x[:, None], y]
  return Batch(
    prompts=x[:, None],
    prompt_mask=jnp.ones((len(x), 1), bool),
    completions=y[:, :, None],
    completion_mask=jnp.ones((len(x), each, 1), bool),
    weight=jnp.exp(drawn.sum(axis=1)) / prompts,
    rewards=table[x[:, None], y],
    ref_logps=held,
    behaviour_logps=drawn,
    # A completion is one token.
    ref_token_logps=held[..., None],
    behaviour_token_logps=drawn[..., None],
  )


def regret(method: OnPolicy, bandit: Bandit, logits: np.ndarray) -> float:
  """Of the method's own objective; see the module's docstring.

  Args:
    method: that was trained.
    bandit: that it was trained on.
    logits: [X, Y].
  """
  if method.objective == "KL(ref || pi)":
    return bandit_metrics.forward_regret(bandit, log_softmax(logits))
  return bandit_metrics.metrics(bandit, logits).regret


def measure(method: OnPolicy, seeds: int = SEEDS) -> float:
  """The worst regret over `seeds` bandits at rho = 0.5."""
  bandits = [make(rho=0.5, seed=seed) for seed in range(seeds)]
  found = train(method, bandits)
  return max(
    regret(method, bandit, logits)
    for bandit, logits in zip(bandits, found, strict=True)
  )


def main() -> int:
  """Prints the table; 1 where a method misses the goal."""
  print(f"| on its own samples | J = E r - | worst regret of {SEEDS} |")
  print("| :--- | :--- | ---: |")
  missed = False
  for method in METHODS:
    found = measure(method)
    missed = missed or not found < GOAL
    print(f"| `{method.name}` | {method.objective} | {found:.1e} |", flush=True)
  return int(missed)


if __name__ == "__main__":
  sys.exit(main())
