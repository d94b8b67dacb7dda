"""Do the intervals of `offalign estimate` cover the truth, where it is known?

  python -m benchmarks.estimate_coverage --logs=200 --out=FOLDER

On the world `ops` the reward is a program, so what a policy is worth can be
measured on as many of its own samples as it takes. The SFT policy writes logs,
each of its own prompts; policies that were trained from it, near and far, are
estimated from each log alone, as `offalign estimate` does. An interval of 95%
should cover the truth in 90 to 99% of the logs, and a policy whose completions
the logs do not hold should be refused. With --least=100 fewer are refused than
`offalign estimate` refuses, which shows why it asks for more.

The model of the direct and the doubly robust estimate is a reward model that
was trained on 384 pairs of another log.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import ops, ops_log, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_policy import Base, Drawn
from benchmarks.overoptimisation import proxies
from offalign.estimation import Evidence, estimate
from offalign.estimation.estimators import LEAST
from offalign.types import Batch, Params

NEW = (
  Method("dro_v(tau=1)"),
  Method("dro_v(tau=0.5)"),
  Method("dro_v(tau=0.3)"),
  Method("dro_v(tau=0.1)"),
)
"""The policies that are estimated, from near to far."""

PROMPTS, K = 128, 4
"""Of a log."""

EACH = 4
"""Samples of a new policy for each prompt, as the option --samples."""

NAMES = ("importance", "direct", "doubly robust")
_CHUNK = 2048


@dataclasses.dataclass(frozen=True)
class Pool:
  """What the logs are cut from, of N = logs * prompts prompts in turn.

  Attributes:
    prompts: int [N, 7].
    completions: of the SFT policy, K for each prompt.
    rewards: float [N, K], of the program, the prompt's offset included.
    modelled: float [N, K], of the reward model.
  """

  prompts: np.ndarray
  completions: Drawn
  rewards: np.ndarray
  modelled: np.ndarray


class Scoring:
  """Scores completions [M] of repeated prompts, in pieces of one shape."""

  def __init__(self, base: Base, model: Params, trainer: proxies.Trainer):
    """Takes the world, and a reward model's weights with what runs them."""
    self._base, self._model = base, model
    self._rewards = trainer.learner
    self._policy = ops.learner_of(Method("sft"), base.model)

  def gold(self, prompts: np.ndarray, drawn: Drawn) -> np.ndarray:
    """The program's rewards, [M], the prompt's offset included."""
    world = self._base.setting.world
    found = world.gold_reward(prompts, drawn.tokens, drawn.mask)
    return found + world.offset(prompts, sizes.LEVEL)

  def modelled(self, prompts: np.ndarray, drawn: Drawn) -> np.ndarray:
    """The reward model's, [M]."""
    return self._pieces(
      lambda rows: self._rewards.reward(self._model, rows, None), prompts, drawn
    )

  def logps(
    self, params: Params, prompts: np.ndarray, drawn: Drawn
  ) -> np.ndarray:
    """Log-probs under a policy, [M]; nats."""
    return self._pieces(
      lambda rows: self._policy.score(params, rows), prompts, drawn
    )

  def _pieces(
    self, of: Callable[[Batch], Any], prompts: np.ndarray, drawn: Drawn
  ) -> np.ndarray:
    rows = ops_policy.as_batch(
      prompts, drawn.tokens[:, None], drawn.mask[:, None]
    )
    n, found = len(prompts), []
    size = min(_CHUNK, n)
    for i in range(0, n, size):
      at = np.arange(i, i + size) % n  # the last piece wraps: one shape
      piece = jax.tree.map(lambda x, at=at: x[at], rows)
      found.append(np.asarray(of(piece), np.float64)[:, 0])
    return np.concatenate(found)[:n]


def pool(base: Base, scoring: Scoring, logs: int) -> Pool:
  """Draws the prompts and completions of all logs, and scores them."""
  world = base.setting.world
  n = logs * PROMPTS
  prompts = world.prompts_of("test", n, np.random.default_rng(7))
  each = np.repeat(prompts, K, axis=0)
  drawn = ops_policy.draw(world, base.model, base.params, each, "estimate log")
  return Pool(
    prompts,
    drawn,
    scoring.gold(each, drawn).reshape(n, K),
    scoring.modelled(each, drawn).reshape(n, K),
  )


def measure(
  name: str,
  params: Params,
  base: Base,
  pool: Pool,
  scoring: Scoring,
  least: float = LEAST,
) -> dict:
  """Estimates one policy from every log.

  Returns:
    A row: what the policy is worth, its KL from the SFT policy, and of each
    estimate over the logs that were not refused its coverage, mean error, and
    mean half-width.
  """
  n = len(pool.prompts)
  world = base.setting.world
  each = np.repeat(pool.prompts, EACH, axis=0)
  own = ops_policy.draw(world, base.model, params, each, f"estimate {name}")
  gold = scoring.gold(each, own).reshape(n, EACH).mean(axis=1)
  kl = own.logps - scoring.logps(base.params, each, own)
  direct = scoring.modelled(each, own).reshape(n, EACH).mean(axis=1)
  truth = float(gold.mean())
  logged = np.repeat(pool.prompts, K, axis=0)
  new = scoring.logps(params, logged, pool.completions)
  log_weights = (new - pool.completions.logps).reshape(n, K)
  reports = []
  for begin in range(0, n, PROMPTS):
    at = slice(begin, begin + PROMPTS)
    # Prompts that are the same are one, as where a log is read.
    kept, where = np.unique(pool.prompts[at], axis=0, return_inverse=True)
    count = np.bincount(where.ravel())
    assert len(count) == len(kept)
    evidence = Evidence(
      prompts=np.repeat(where.ravel(), K),
      rewards=pool.rewards[at].ravel(),
      log_weights=log_weights[at].ravel(),
      modelled=pool.modelled[at].ravel(),
      direct=np.bincount(where.ravel(), direct[at]) / count,
    )
    reports.append(estimate(evidence, seed=begin, least=least))
  row = {
    "policy": name,
    "kl": round(float(kl.mean()), 3),
    "truth": round(truth, 4),
    "truth_error": round(float(gold.std() / np.sqrt(n)), 4),
    "logged": round(float(pool.rewards.mean()), 4),
    "logs": len(reports),
    "completions": PROMPTS * K,
    "effective": round(float(np.median([r.effective for r in reports])), 1),
    "mean_weight": round(float(np.mean([r.mean_weight for r in reports])), 3),
    "refused": sum(bool(r.refusal) for r in reports),
  }
  for kind in NAMES:
    found = [r.estimates[kind] for r in reports if r.estimates]
    if found:
      row[kind] = {
        "covered": sum(x.low <= truth <= x.high for x in found),
        "of": len(found),
        "error": round(float(np.mean([x.value - truth for x in found])), 4),
        "half_width": round(
          float(np.mean([(x.high - x.low) / 2 for x in found])), 4
        ),
      }
  return row


def table(rows: list[dict]) -> str:
  """The rows as the table in docs/estimating.md."""
  lines = [
    "| policy | KL | worth | effective | refused | " + " | ".join(NAMES) + " |",
    "| :--- | ---: | ---: | ---: | ---: |" + " ---: |" * len(NAMES),
  ]
  for row in rows:
    cells = [
      f"`{row['policy']}`",
      f"{row['kl']:.2f}",
      f"{row['truth']:.3f}",
      f"{row['effective']:,.0f}",
      f"{row['refused']} of {row['logs']}",
    ]
    for kind in NAMES:
      found = row.get(kind)
      cells.append(
        f"{found['covered'] / found['of']:.1%}, {found['error']:+.3f} "
        f"± {found['half_width']:.3f}"
        if found
        else "–"
      )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def run(logs: int, out: pathlib.Path | None, least: float) -> list[dict]:
  """Trains the policies, draws the logs and estimates; prints the table."""
  base = ops_policy.prepare("decoder", samples_each=16)
  feedback = ops_log.collect(base, 1)
  trainer = proxies.Trainer(base, proxies.OWN)
  pairs = proxies.pairs(feedback, proxies.DATA[1])
  scoring = Scoring(base, trainer.fit(pairs, 1)[0], trainer)
  made = pool(base, scoring, logs)
  rows = []
  for method in NEW:
    params = ops.train(method, base, feedback).params
    rows.append(measure(method.name, params, base, made, scoring, least))
    print(json.dumps(rows[-1]), flush=True)
  if out is not None:
    out.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "rows.jsonl").write_text(text, encoding="utf-8")
  print(table(rows))
  return rows


def main() -> int:
  """Measures what the flags say."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--logs", type=int, default=200)
  parser.add_argument("--out", type=pathlib.Path)
  parser.add_argument(
    "--least",
    type=float,
    default=LEAST,
    help="effective completions below which a log is refused",
  )
  flags = parser.parse_args()
  ops.flags.FLAGS([sys.argv[0]])
  run(flags.logs, flags.out, flags.least)
  return 0


if __name__ == "__main__":
  sys.exit(main())
