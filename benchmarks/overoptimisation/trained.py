"""Methods that train on a proxy: on-policy RLOO, and DPO and DRO-V on a log.

RLOO gives a curve over its updates. DPO and DRO-V train on the log of the SFT
policy's completions, labelled anew by the proxy, once for each strength.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import ops, ops_feedback, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base, as_batch
from benchmarks.overoptimisation.best_of import Pool
from benchmarks.overoptimisation.points import FOLDS, Key, Point
from benchmarks.overoptimisation.proxies import (
  DATA,
  MEMBERS,
  NOISY,
  OWN,
  Data,
  Proxy,
)
from offalign.data import Sampler
from offalign.types import Batch, Params

RLOO = "RLOO"
_LOSSES = {"DPO": "dpo(beta={s})", "DRO-V": "dro_v(tau={s})"}
_STRENGTHS = {
  "DPO": (0.1, 0.3, 1.0, 3.0, 10.0),
  "DRO-V": (0.03, 0.1, 0.3, 1.0, 3.0),
}
NAMES = (RLOO, *_LOSSES)
ROUNDS = (10, 20, 40, 80, 120, 200, 300)
"""Updates of RLOO after which the policy is measured."""
_BETA, _K = 0.01, 4
_EACH = 5  # completions of a prompt of the pool, to measure a policy by


def strengths(method: str) -> tuple[float, ...]:
  """Strengths of a method's points; of RLOO the updates so far."""
  return ROUNDS if method == RLOO else _STRENGTHS[method]


def runs(size: str, data: Data, name: str) -> bool:
  """Whether the methods maximise a proxy: those of the policy's own size.

  All but the longer one, of least data and of flipped labels.
  """
  long = name.startswith(f"one with {MEMBERS} times")
  return size == OWN and data in (DATA[0], NOISY) and not long


def points(
  method: str,
  proxy: Proxy,
  base: Base,
  pool: Pool,
  log: Feedback,
  known: Collection[Key],
) -> Iterator[list[Point]]:
  """Trains and measures what is not known yet.

  Args:
    method: of `NAMES`.
    proxy: that it maximises, on the scale of the pool.
    base: where policies start.
    pool: whose prompts policies are measured on.
    log: prompts and completions of the SFT policy.
    known: keys of points that are there.

  Yields:
    Points as they are whole: of RLOO all of a curve.
  """
  measure = _Measure(method, proxy, base, pool, log.seed)
  if method == RLOO:
    found: list[Point] = []
    began = time.process_time()

    def watch(update: int, params: Params) -> None:
      found.append(measure(update, params, time.process_time() - began))

    _rloo(proxy, base, log, watch)
    yield [p for p in found if p.key not in known]
    return
  labelled = relabelled(log, proxy)
  for strength in strengths(method):
    if (method, proxy.name, log.seed, strength) in known:
      continue
    began = time.process_time()
    of = Method(_LOSSES[method].format(s=f"{strength:g}"), method)
    params = ops.train(of, base, labelled, shared=True).params
    yield [measure(strength, params, time.process_time() - began)]


def relabelled(log: Feedback, proxy: Proxy) -> Feedback:
  """The log with the proxy's scores for rewards, of mean 0 and variance 1."""
  rows = as_batch(log.prompts, log.tokens, log.mask)
  scores = _scores(proxy, rows)
  rewards = ops_feedback.normalised(scores).rewards
  return dataclasses.replace(log, rewards=rewards.astype(np.float32))


def _scores(proxy: Proxy, rows: Batch) -> np.ndarray:
  """[n, K], some rows at a time."""
  n = len(rows.prompts)
  size = min(sizes.CHUNK // rows.completions.shape[1], n)
  found = []
  for i in range(0, n, size):
    picked = np.arange(i, i + size) % n  # the last piece wraps: one shape
    found.append(proxy.score(jax.tree.map(lambda x, at=picked: x[at], rows)))
  return np.concatenate(found)[:n]


@dataclasses.dataclass(frozen=True)
class _Measure:
  """Measures policies on the prompts of the pool."""

  method: str
  proxy: Proxy
  base: Base
  pool: Pool
  seed: int

  def __call__(self, strength: float, params: Params, seconds: float) -> Point:
    """Completes each prompt several times: gold, proxy and KL."""
    base, world = self.base, self.base.setting.world
    asked = np.repeat(self.pool.prompts, _EACH, axis=0)
    name = f"{self.method}, {self.proxy.name}"
    stream = f"over-optimisation, {name}, {strength:g}, {self.seed}"
    found = ops_policy.draw(world, base.model, params, asked, stream)
    rows = as_batch(asked, found.tokens[:, None], found.mask[:, None])
    scorer = ops.learner_of(Method("sft"), base.model)
    before = np.asarray(scorer.score(base.params, rows))[:, 0]
    gold = world.gold_reward(asked, found.tokens, found.mask)
    gold = gold.reshape(-1, _EACH).mean(axis=1) - self.pool.gold.mean(axis=1)
    parts = np.array_split(gold, FOLDS)
    return Point(
      label=name,
      method=self.method,
      proxy=self.proxy.name,
      seed=self.seed,
      strength=strength,
      kl=round(max(float((found.logps - before).mean()), 0.0), 6),
      kl_ties=None,
      gold=round(float(gold.mean()), 6),
      proxy_gain=round(float(self.proxy.score(rows).mean()), 6),
      folds=[round(float(part.mean()), 6) for part in parts],
      seconds=round(seconds, 2),
    )


def _rloo(
  proxy: Proxy,
  base: Base,
  log: Feedback,
  watch: Callable[[int, Params], None],
) -> None:
  """RLOO with one update a round, on the scores of the proxy."""
  method = Method(f"rloo(beta={_BETA})", RLOO)
  learner = ops.learner_of(method, base.model)
  scorer = ops.learner_of(Method("sft"), base.model)
  state: Any = learner.init(base.params)
  count = sizes.COMPLETIONS // _K
  prompts = Sampler(len(log.prompts), count, seed=log.seed)
  for update in range(1, max(ROUNDS) + 1):
    asked = log.prompts[prompts.indices(update - 1)]
    found = ops_policy.draw(
      base.setting.world,
      base.model,
      state.params["policy"],
      np.repeat(asked, _K, axis=0),
      f"{RLOO}, {proxy.name}, seed {log.seed}, update {update}",
    )
    shape = (count, _K, found.tokens.shape[1])
    rows = as_batch(
      asked, found.tokens.reshape(shape), found.mask.reshape(shape)
    )
    scores = proxy.score(rows)
    rows = dataclasses.replace(
      rows,
      rewards=scores.astype(np.float32),
      labels=scores > 0,
      ref_logps=np.asarray(scorer.score(base.params, rows)),
      behaviour_logps=found.logps.reshape(count, _K),
    )
    state, _ = learner.train_step(state, rows)
    if update in ROUNDS:
      watch(update, state.params["policy"])
