"""--suite=ops --tune=K: draws, chooses on validation, reports on test.

Every line of the board gets the same number of draws on the log of seed 0, is
chosen by its win rate on the validation prompts, and is then trained anew on
logs of fresh seeds and measured on the test prompts. Nothing of the reported
runs was seen by the choice: not their logs, and not their prompts.
"""

import math
import shlex

from benchmarks import cells, ops, ops_log, ops_policy
from benchmarks.methods import Method
from benchmarks.recorder import Recorder, quiet_failure
from benchmarks.tuning import report
from benchmarks.tuning.draws import Draw, Records, best
from benchmarks.tuning.ranges import Line
from benchmarks.worlds.setting import Setting
from offalign.leaderboard import Stopwatch

TUNED, DEFAULTS = "tuned", "registered defaults"
"""What the scenarios of the two boards end with."""
FOLDER = "tuning"
TUNING_SEED = 0
"""Of the log that is tuned on; the reported seeds begin after it."""


def run(
  recorder: Recorder,
  lines: list[Line],
  names: tuple[str, ...],
  *,
  count: int,
  seeds: int,
  setting: Setting | None = None,
) -> None:
  """Tunes, then records the chosen settings and the registered defaults.

  Args:
    recorder: of the suite's folder, where `tuning/` is kept too.
    lines: of the board.
    names: models.
    count: draws a line.
    seeds: reported, 1 .. seeds.
    setting: default: the world ops with four scored completions a prompt.
  """
  setting = setting or Setting()
  folder = recorder.folder / FOLDER
  about = {
    "draws": count,
    "seeds": seeds,
    "models": list(names),
    "lines": [line.name for line in lines],
    "setting": setting.words,
  }
  records = Records(folder, about)
  for name in names:
    base = cells.prepare(recorder, name, setting)
    _tune(recorder, records, base, lines, name, count)
    chosen = [_chosen(records, line, name, count) for line in lines]
    defaults = [
      Method(line.spec, line.name, value=line.value) for line in lines
    ]
    for kind, methods in ((TUNED, chosen), (DEFAULTS, defaults)):
      cells.run_methods(
        recorder,
        base,
        [method for method in methods if method is not None],
        range(TUNING_SEED + 1, TUNING_SEED + 1 + seeds),
        cells.Board(
          f"{setting.scenario}, {kind}",
          name,
          how={
            m.name: _how(m, count, len(base.validation.rewards))
            for m in chosen
            if m is not None
          }
          if kind == TUNED
          else {},
          commands={
            x.name: _command(x, name, count, seeds, setting) for x in lines
          },
          shared=True,
        ),
      )
      ops.forget()
  recorder.notes += report.notes(count, lines, records)
  report.write(folder, lines, list(records.found.values()))


def _tune(
  recorder: Recorder,
  records: Records,
  base: ops_policy.Base,
  lines: list[Line],
  name: str,
  count: int,
) -> None:
  """Runs the draws that the folder does not hold yet."""
  feedback = ops_log.collect(base, TUNING_SEED)
  for line in lines:
    for number, method in enumerate(line.draws(count)):
      if (name, line.name, number) in records.found:
        recorder.passed()
        continue
      recorder.doing(f"{name}: {line.name}, draw {number + 1} of {count}")
      records.add(_draw(base, feedback, method, name, number))
      recorder.passed()
    ops.forget()


def _draw(
  base: ops_policy.Base,
  feedback: ops_log.Feedback,
  method: Method,
  name: str,
  number: int,
) -> Draw:
  """Trains one draw and judges it on the validation prompts."""
  win, kl = math.nan, math.nan
  errors: list[str] = []
  with Stopwatch() as watch, quiet_failure(errors):
    trained = ops.train(method, base, feedback, shared=True)
    stream = f"{method.name}, draw {number}"
    win, kl = ops.validate(base, trained.params, stream)
  return Draw(
    model=name,
    line=method.name,
    draw=number,
    loss=method.loss,
    learning_rate=method.learning_rate,
    value_learning_rate=method.value_learning_rate,
    win=win,
    kl=kl,
    seconds=round(watch.seconds["cpu"], 2),
    error=errors[0] if errors else "",
  )


def _chosen(
  records: Records, line: Line, name: str, count: int
) -> Method | None:
  """The line at its best draw; None where every draw failed."""
  keys = [(name, line.name, number) for number in range(count)]
  found = best([records.found[key] for key in keys])
  return line.draws(count)[found.draw] if found else None


def _how(method: Method, count: int, prompts: int) -> str:
  """How a row's settings were chosen, for its `selection`."""
  rate = f"learning rate {method.learning_rate:g}"
  if method.value_learning_rate:
    rate += f", of the value {method.value_learning_rate:g}"
  return (
    f"best of {count} draws by win rate on {prompts} validation prompts: {rate}"
  )


def _command(
  line: Line, name: str, count: int, seeds: int, setting: Setting
) -> str:
  """The command that makes a line's rows again."""
  return (
    f"python -m benchmarks.run --suite=ops --methods={shlex.quote(line.name)} "
    + " ".join(
      [f"--tune={count}", f"--model={name}", *setting.words, f"--seeds={seeds}"]
    )
  )


def count_runs(
  lines: list[Line], names: tuple[str, ...], count: int, seeds: int
) -> int:
  """How many runs the suite has, for the bar."""
  return len(lines) * len(names) * (count + 2 * seeds)
