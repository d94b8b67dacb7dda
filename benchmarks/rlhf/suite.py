"""--suite=rlhf: SFT, reward model and on-policy training beside offline losses.

All begin with one log: 8192 completions of the SFT policy, scored once. The
offline methods train on it. The others fit a reward model to it, and then draw
completions of their own, which the reward model scores: no method sees a gold
reward that is not in the log. Each method has three strengths, of which the
best on the validation prompts is reported on logs of fresh seeds.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from benchmarks import cells, ops, ops_log, ops_metrics, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base, as_batch
from benchmarks.recorder import Recorder, quiet_failure
from benchmarks.rlhf import online, proxy
from benchmarks.rlhf.costs import Costs, size
from benchmarks.rlhf.curves import Curves
from benchmarks.rlhf.online import Online
from benchmarks.worlds.setting import Setting
from offalign.errors import UserError, suggest
from offalign.leaderboard import Stopwatch
from offalign.statistics import outcomes as outcomes_lib
from offalign.types import Params

SCENARIO = "one log, then samples"
TUNING_SEED = 0


@dataclasses.dataclass(frozen=True)
class Offline:
  """A method that trains on the log alone; attributes as `Online`'s."""

  name: str
  loss: str
  strengths: tuple[float, ...]
  learning_rate: float = 3e-4

  def method(self, strength: float) -> Method:
    """As the learner takes it."""
    loss = self.loss.format(s=f"{strength:g}")
    return Method(loss, self.name, learning_rate=self.learning_rate)


_TAUS = (0.1, 0.3, 1.0)
_BETAS = (0.3, 1.0, 3.0)

METHODS: tuple[Offline | Online, ...] = (
  Offline("DRO-V", "dro_v(tau={s})", _TAUS),
  Offline("DRO-group", "dro_group(tau={s})", _TAUS),
  Offline("KTO", "kto(beta={s}, threshold=batch)", _BETAS),
  Offline("DPO", "dpo(beta={s})", _BETAS),
  Offline("REBEL", "rebel(eta={s})", (1.0, 3.0, 10.0)),
  Online("RLOO, on-policy", "rloo(beta={s})", (0.03, 0.1, 0.3), "groups"),
  Online(
    "GRPO, on-policy",
    "grpo(beta={s}, behaviour=logged, ratio=token, kl=token)",
    (0.04, 0.2, 1.0),
    "groups",
  ),
  Online(
    "GRPO, rewards not scaled",
    "grpo(beta={s}, behaviour=logged, ratio=token, kl=token, "
    "scale_rewards=False)",
    (0.04, 0.2, 1.0),
    "groups",
  ),
  Online(
    "GRPO by sequence",
    "grpo(beta={s}, behaviour=logged)",
    (0.01, 0.04, 0.2),
    "groups",
  ),
  Online(
    "PPO, on-policy",
    "ppo(kl_coef={s}, vf_coef=0.5)",
    (0.03, 0.1, 0.3),
    "singles",
  ),
  Online("DRO-V, on-policy", "dro_v(tau={s})", _TAUS, "singles", every=20),
  Online("DPO, iterated", "dpo(beta={s})", _BETAS, "best and worst", every=50),
  Online(
    "REBEL, iterated",
    "rebel(eta={s})",
    (0.3, 1.0, 3.0),
    "groups",
    k=2,
    every=50,
    moving=True,
  ),
  Online("ReST", "sft(on=desirable)", (1.0,), "top", every=100),
)
BEST_OF = (4, 16)


def choose(wanted: str) -> list[Offline | Online]:
  """Methods by name, separated by semicolons; "" and "all" are all of them.

  Raises:
    UserError: for another.
  """
  if wanted in ("", "all"):
    return list(METHODS)
  known = {method.name: method for method in METHODS}
  chosen = []
  for piece in (p.strip() for p in wanted.split(";")):
    if piece not in known:
      raise UserError(
        f"--methods names {piece!r}, which the suite rlhf does not have"
        f"{suggest(piece, list(known))} (methods: {'; '.join(known)})"
      )
    chosen.append(known[piece])
  return chosen


def count_runs(methods: Sequence[Offline | Online], seeds: int) -> int:
  """How many runs the suite has, for the bar."""
  return seeds * (len(methods) + len(BEST_OF))


def run(
  recorder: Recorder,
  methods: Sequence[Offline | Online],
  name: str,
  seeds: int,
  setting: Setting | None = None,
) -> None:
  """Trains what the folder does not hold yet.

  Args:
    recorder: of the suite's folder.
    methods: the lines of the board.
    name: of the model.
    seeds: reported, 1 .. seeds; 0 is tuned on.
    setting: default: the world ops with four scored completions a prompt.
  """
  base = cells.prepare(recorder, name, setting)
  logs = [ops_log.collect(base, seed) for seed in range(seeds + 1)]
  recorder.doing("reward models")
  proxies = [_fit(base, feedback) for feedback in logs]
  right = [found.accuracy for found in proxies]
  recorder.notes.append(
    f"The reward models order {np.mean(right):.1%} of held-out pairs of the "
    f"SFT policy as the gold reward does ({min(right):.1%} to "
    f"{max(right):.1%}); each took {np.mean([p.seconds for p in proxies]):.1f} "
    "CPU seconds, which are in the seconds of the methods that use it."
  )
  recorder.notes.append(
    "gflops is 2 N for every token that a network of N parameters reads or "
    "writes and 6 N for one that it is trained on, reward model included; the "
    "log and its SFT policy are the same for all and are left out."
  )
  for method in methods:
    left = [
      (feedback, model)
      for feedback, model in zip(logs[1:], proxies[1:], strict=True)
      if not _held(recorder, method.name, _common(base, feedback.seed))
    ]
    if left:
      strength, why = _tuned(recorder, method, base, logs[0], proxies[0])
    for feedback, model in left:
      _record(recorder, method, strength, why, base, feedback, model, name)
    ops.forget()
  for feedback, model in zip(logs[1:], proxies[1:], strict=True):
    for n in BEST_OF:
      _best_of(recorder, n, base, feedback, model, name)


def _fit(base: Base, feedback: Feedback) -> proxy.Proxy:
  with Stopwatch() as watch:
    found = proxy.fit(base, feedback)
  return dataclasses.replace(found, seconds=watch.seconds["cpu"])


def _train(
  method: Offline | Online,
  strength: float,
  base: Base,
  feedback: Feedback,
  model: proxy.Proxy,
  curves: bool = False,
) -> tuple[Params, Costs, Curves]:
  """(policy params, what it cost, its curves)."""
  if isinstance(method, Online):
    found = online.train(method, strength, base, feedback, model, curves)
    costs = found.costs
    costs.flops += model.costs.flops
    return found.params, costs, found.curves
  of = method.method(strength)
  trained = ops.train(of, base, feedback, shared=True)
  costs = Costs()
  prompts = sizes.STEPS * sizes.COMPLETIONS * feedback.prompts.shape[1]
  count = int(trained.metrics["tokens"]) + prompts
  costs.trained(count, int(trained.metrics["parameters"]))
  way = Curves()
  for (step, rate), (_, gain) in zip(trained.curve, trained.gains, strict=True):
    way.add(int(step), rate, gain, costs.flops * step / sizes.STEPS)
  return trained.params, costs, way


def _tuned(
  recorder: Recorder,
  method: Offline | Online,
  base: Base,
  feedback: Feedback,
  model: proxy.Proxy,
) -> tuple[float, str]:
  """The strength that won most on validation prompts; what was tried."""
  if len(method.strengths) == 1:
    return method.strengths[0], ""
  found = {}
  for strength in method.strengths:
    recorder.doing(f"{method.name} at {strength:g}, to choose by")
    errors: list[str] = []
    with quiet_failure(errors):
      params, *_ = _train(method, strength, base, feedback, model)
      found[strength] = ops.validate(base, params, method.name)
  if not found:
    recorder.notes.append(f"{method.name} failed at each strength: {errors[0]}")
    return method.strengths[0], ""
  best = max(found, key=lambda s: found[s][0])
  tried = ", ".join(
    f"{s:g}: {win:.3f} at {kl:.2f} nats" for s, (win, kl) in found.items()
  )
  return best, (
    f"at strength {best:g} by win rate on {len(base.validation.rewards)} "
    f"validation prompts ({tried})"
  )


def _held(recorder: Recorder, label: str, common: dict) -> bool:
  """Whether the folder has the run; if so, it is passed."""
  key = {k: common[k] for k in ("track", "scenario", "model", "seed")}
  held = recorder.holds(label=label, **key)
  if held:
    recorder.passed()
  return held


def _common(base: Base, seed: int) -> dict:
  return {
    "track": base.setting.world.name,
    "scenario": f"{base.setting.scenario}, {SCENARIO}",
    "model": base.model.spec,
    "measurement": sizes.MEASUREMENT,
    "prompts": outcomes_lib.prompt_set(base.test.prompts.tolist()),
    "seed": seed,
    "budget": {
      "completions": sizes.STEPS * sizes.COMPLETIONS,
      "tokens": sizes.STEPS
      * sizes.COMPLETIONS
      * base.setting.world.completion_width,
      "steps": sizes.STEPS,
    },
  }


def _record(
  recorder: Recorder,
  method: Offline | Online,
  strength: float,
  why: str,
  base: Base,
  feedback: Feedback,
  model: proxy.Proxy,
  name: str,
) -> None:
  of, common = method.method(strength), _common(base, feedback.seed)
  recorder.doing(f"{method.name}, seed {feedback.seed}")
  errors: list[str] = []
  fields: dict = {"metrics": {}}
  with Stopwatch() as watch, quiet_failure(errors):
    params, costs, way = _train(
      method, strength, base, feedback, model, curves=True
    )
    measured = ops.measure(base, params, f"{method.name}, {feedback.seed}")
    measured.metrics.update(costs.metrics())
    fields = {**cells.measures(base, measured), "curves": way.fields()}
  seconds = dict(watch.seconds)
  if isinstance(method, Online):
    seconds["cpu"] += model.seconds
    seconds["wall"] += model.seconds
  recorder.add(
    **{**fields, **common},
    loss=of.loss,
    label=method.name,
    data_view="the log" if isinstance(method, Offline) else _said(method),
    seconds=seconds,
    peak_memory_mb=watch.peak_memory_mb,
    selection=why,
    command=_command(method.name, name),
    status="failed" if errors else "ok",
    error=errors[0] if errors else None,
  )


def _said(method: Online) -> str:
  rounds = sizes.STEPS // method.every
  said = f"{rounds} rounds of own samples, {method.view}"
  return said + (", moving reference" if method.moving else "")


def _best_of(
  recorder: Recorder,
  n: int,
  base: Base,
  feedback: Feedback,
  model: proxy.Proxy,
  name: str,
) -> None:
  """Best-of-n by the reward model: no policy is trained."""
  label, common = f"best of {n}", _common(base, feedback.seed)
  if _held(recorder, label, common):
    return
  recorder.doing(f"{label}, seed {feedback.seed}")
  world, test = base.setting.world, base.test
  with Stopwatch() as watch:
    each = np.repeat(test.prompts, n, axis=0)
    stream = f"{label}, seed {feedback.seed}"
    found = ops_policy.draw(world, base.model, base.params, each, stream)
    shape = (len(test.prompts), n, found.tokens.shape[1])
    drawn, kept = found.tokens.reshape(shape), found.mask.reshape(shape)
    rows = as_batch(test.prompts, drawn, kept)
    costs = Costs()
    costs.scored(rows, model.parameters)
    costs.read(rows, size(base.params))
    costs.flops += model.costs.flops
    best = model.score(rows).argmax(axis=1)
    place = np.arange(len(best))
    tokens, mask = drawn[place, best], kept[place, best]
    gold = world.gold_reward(test.prompts, tokens, mask)
    outcomes = {
      "win_vs_sft": ops_metrics.wins(gold, test.rewards),
      "reward_gain": gold - base.means,
    }
    metrics = {key: float(each.mean()) for key, each in outcomes.items()}
    kl = math.log(n) - (n - 1) / n
    metrics |= {
      "kl": kl,
      "efficiency": base.frontier.efficiency(metrics["reward_gain"], kl),
      **costs.metrics(),
    }
    right = world.exact(test.prompts, tokens, mask)
    if right is not None:
      metrics["exact"] = float(right.mean())
    shown = world.samples(test.prompts, tokens, mask, gold)
    measured = ops.Measured(metrics, outcomes, gold, shown)
  recorder.add(
    **cells.measures(base, measured),
    **common,
    loss="sft",
    label=label,
    data_view=f"{n} samples a test prompt, by the reward model; KL is a bound",
    seconds={k: v + model.seconds for k, v in watch.seconds.items()},
    peak_memory_mb=watch.peak_memory_mb,
    command=_command(label, name),
  )


def _command(label: str, name: str) -> str:
  said = "" if label.startswith("best of") else f" --methods='{label}'"
  return f"python -m benchmarks.run --suite=rlhf{said} --model={name}"
