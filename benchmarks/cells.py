"""The cells of the boards: trains, measures and records method by method."""

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks import (
  commands,
  methods,
  ops,
  ops_log,
  ops_metrics,
  ops_policy,
  theory,
)
from benchmarks import ops_sizes as sizes
from benchmarks.recorder import Recorder, quiet_failure
from benchmarks.worlds.setting import Setting
from offalign.errors import UserError
from offalign.leaderboard import Stopwatch
from offalign.statistics import outcomes as outcomes_lib

BEST_OF = 4
"""Draws of the control that keeps the one of highest gold reward."""
CONTROLS = (("sft, T=0.7", 0.7), ("sft, T=0.5", 0.5), ("sft, greedy", 0.0))


def check_ops(chosen: list[methods.Method]) -> None:
  """Refuses a method that would be called as a control is.

  Raises:
    UserError: naming it.
  """
  if "sft" in [method.name for method in chosen]:
    raise UserError(
      "--methods names 'sft', which on the ops board is the control that all "
      "methods start from: give another of it, such as sft(on=desirable)"
    )


def run_theory(
  recorder: Recorder, chosen: list[methods.Method], seeds: int, quick: bool
) -> None:
  """All cells of the theory track."""
  scenarios = theory.QUICK_SCENARIOS if quick else theory.SCENARIOS
  recorder.notes += [f"theory: {s}" for s in methods.related(chosen)]
  for method in chosen:
    recorder.doing(f"theory: {method.name}")
    common = {
      "track": "theory",
      "loss": method.loss,
      "label": method.name,
      "model": "tabular",
      # Exact expectations: no completion is sampled.
      "budget": {"completions": 0, "tokens": 0, "steps": theory.STEPS},
    }
    errors: list[str] = []
    with quiet_failure(errors):
      for result in theory.run(method, scenarios, seeds):
        recorder.add(
          **common,
          scenario=result.scenario,
          seed=result.seed,
          data_view=result.view,
          metrics=result.metrics,
          seconds=result.seconds,
          peak_memory_mb=result.memory_mb,
          command=commands.of_row("theory", method.name, result.seed),
        )
    if errors:
      recorder.add(
        **common,
        scenario="all",
        seed=0,
        data_view="",
        metrics={},
        seconds={"wall": 0.0, "cpu": 0.0},
        peak_memory_mb=0.0,
        command=commands.of_row("theory", method.name, seeds - 1),
        status="failed",
        error=errors[0],
      )


@dataclasses.dataclass(frozen=True)
class Board:
  """Where rows of the ops track stand.

  Attributes:
    scenario: as `Row.scenario`.
    name: of the model, "decoder" or "t5".
    suite: for the command of a row.
    how: label -> how its settings were chosen, for `Row.selection`.
    commands: label -> the command that makes its rows; one that is absent
      is made by the suite with the row's seed.
    more: further flags of that command.
    shared: whether methods that differ in numbers alone share one compiled
      step; see `ops.stepper`.
  """

  scenario: str
  name: str
  suite: str = "ops"
  how: Mapping[str, str] = dataclasses.field(default_factory=dict)
  commands: Mapping[str, str] = dataclasses.field(default_factory=dict)
  more: Sequence[str] = ()
  shared: bool = False

  def of(self, method: str, seed: int) -> str:
    """The command that makes a row again."""
    if method in self.commands:
      return self.commands[method]
    return commands.of_row(
      self.suite,
      method,
      seed,
      self.name,
      select=ops.SELECT.value,
      more=self.more,
    )


def run_ops(
  recorder: Recorder,
  chosen: list[methods.Method],
  seeds: int,
  name: str,
  suite: str = "ops",
  setting: Setting | None = None,
) -> None:
  """All cells of the ops track with one model; `suite` is for commands."""
  base = prepare(recorder, name, setting)
  track = base.setting.world.name
  recorder.notes += [f"{track}, {name}: {s}" for s in methods.remarks(chosen)]
  board = Board(
    base.setting.scenario,
    name,
    suite,
    more=base.setting.words,
    shared=suite == "paper",  # whose variants differ in numbers alone
  )
  run_methods(recorder, base, chosen, range(seeds), board)


def prepare(
  recorder: Recorder, name: str, setting: Setting | None = None
) -> ops_policy.Base:
  """The SFT policy that all methods of a model start from."""
  setting = setting or Setting()
  track = setting.world.name
  recorder.scale = setting.world.scale or recorder.scale
  recorder.notes += [f"{track}: {said}" for said in setting.world.remarks]
  recorder.doing(f"{track}, {name}: supervised fine-tuning")
  with Stopwatch() as watch:
    base = ops_policy.prepare(
      name,
      lambda step, steps, loss: recorder.doing(
        f"{track}, {name}: SFT {step}/{steps}, loss {loss:.3f}"
      ),
      setting,
    )
  recorder.notes.append(
    f"{track}, {name}: SFT of {setting.world.sft_steps} steps took "
    f"{watch.seconds['cpu']:.0f} CPU seconds, once for all methods."
  )
  recorder.notes.append(
    f"{track}, {name}: {ops_metrics.about(base.frontier, sizes.ORACLE_SAMPLES)}"
  )
  return base


def run_methods(
  recorder: Recorder,
  base: ops_policy.Base,
  chosen: list[methods.Method],
  seeds: Sequence[int],
  board: Board,
) -> None:
  """The controls, and every method on the logs of every seed."""
  scenario, model = board.scenario, base.model.spec
  track = base.setting.world.name
  group = {"track": track, "scenario": scenario, "model": model}
  common = {
    **group,
    "measurement": sizes.MEASUREMENT,
    "prompts": outcomes_lib.prompt_set(base.test.prompts.tolist()),
  }
  recorder.oracle(f"{track}/{scenario}/{model}", ops_policy.oracle(base))
  free = {"completions": 0, "tokens": 0, "steps": 0}
  best = f"best of {BEST_OF} by gold"
  for label, temperature in (("sft", 1.0), *CONTROLS, (best, None)):
    if recorder.holds(**group, label=label, seed=0):
      continue
    with Stopwatch() as watch:
      if temperature is None:
        measured = ops.measure_best_of(base, BEST_OF, label)
      else:
        measured = ops.measure(base, base.params, label, temperature)
    recorder.add(
      **common,
      loss="sft",
      label=label,
      data_view="",
      seed=0,
      budget=free,
      **measures(base, measured),
      command=commands.of_row(
        "ops", "sft", 0, board.name, more=base.setting.words
      ),
      seconds=watch.seconds,
      peak_memory_mb=watch.peak_memory_mb,
      control=True,
    )
  note = (
    f"{track}, {board.name}: {best} keeps of {BEST_OF} samples of SFT the one "
    "that the judge itself gives most, which no method can see: an upper bound "
    "on what a reward model could choose. Its KL is the bound log n - "
    "(n - 1) / n, so its eff is at least what is said."
  )
  if note not in recorder.notes:
    recorder.notes.append(note)
  logs = [ops_log.collect(base, seed) for seed in seeds]
  golds: dict[int, dict] = {seed: {} for seed in seeds}
  for method in chosen:
    for feedback in logs:
      seed, label = feedback.seed, method.name
      if recorder.holds(**group, label=label, seed=seed):
        recorder.passed()
        continue
      recorder.doing(f"{scenario}, {board.name}: {label}, seed {seed}")
      cell = {**common, "command": board.of(label, seed)}
      if label in board.how:
        cell["selection"] = board.how[label]
      _ops_cell(recorder, cell, method, base, feedback, golds, board.shared)


def _ops_cell(
  recorder: Recorder,
  common: dict,
  method: methods.Method,
  base: ops_policy.Base,
  feedback: ops_log.Feedback,
  golds: dict[int, dict],
  shared: bool,
) -> None:
  """Trains, measures and records one method on one seed."""
  seed, others = feedback.seed, golds[feedback.seed]
  fields: dict = {"data_view": "", "metrics": {}}
  errors: list[str] = []
  with Stopwatch() as watch, quiet_failure(errors):
    trained = ops.train(method, base, feedback, shared)
    stream = f"{method.name}, seed {seed}"
    measured = ops.measure(base, trained.params, stream)
    measured.metrics["ties_dropped"] = trained.ties
    measured.metrics.update(trained.metrics)
    gold = measured.rewards
    fields = {
      "data_view": trained.view,
      "selection": trained.selection,
      **measures(base, measured),
      "curves": {"win_vs_sft": trained.curve},
      "duels": {k: ops_metrics.win_rate(gold, v) for k, v in others.items()},
    }
    others[method.name] = gold
  completions = sizes.STEPS * sizes.COMPLETIONS
  recorder.add(
    **{**fields, **common},
    loss=method.loss,
    label=method.name,
    seed=seed,
    budget={
      "completions": completions,
      "tokens": completions * base.setting.world.completion_width,
      "steps": sizes.STEPS,
    },
    seconds=watch.seconds,
    peak_memory_mb=watch.peak_memory_mb,
    status="failed" if errors else "ok",
    error=errors[0] if errors else None,
  )


def measures(base: ops_policy.Base, measured: ops.Measured) -> dict:
  """The fields of a row that a measurement gives."""
  folds = ops_metrics.folds(measured.rewards, base.test.rewards)
  return {
    "metrics": measured.metrics,
    "outcomes": {
      key: outcomes_lib.encode(values)
      for key, values in measured.outcomes.items()
    },
    "folds": {"win_vs_sft": list(folds)},
    "samples": measured.samples,
  }
