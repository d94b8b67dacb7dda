"""offalign estimate --run=NEW --log=FILE --behaviour=RUN

Is the new policy worth an A/B test? Estimates its mean reward from a log that
another policy wrote, without showing a single completion to anybody:

  offalign estimate --run=runs/new --log=thumbs.jsonl --behaviour=runs/old

The weights are how much likelier the new policy is to write what was logged.
The log has to say how likely its own policy was, in a column behaviour_logps
(nats, summed over a completion's tokens), or --behaviour names that policy: a
run or a model folder. With a reward model (--reward_model=RUN, of the loss
bradley_terry) or a function (--fn='my_file.py:score'), the direct and the
doubly robust estimate are there too. Where the log hardly holds what the new
policy writes, nothing is estimated, and the status is 1.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from absl import flags, logging

from offalign import user_code
from offalign.data import load
from offalign.data.reading.records import count
from offalign.errors import UserError, speaking
from offalign.estimation import Report, estimate, from_log
from offalign.estimation.log import Scorer
from offalign.files import write_json
from offalign.judges.gold import Gold
from offalign.policy.policy import Policy
from offalign.policy.reward_model import Rewards
from offalign.programs import flags as flags_lib

_BATCH = 16


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Estimates; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    needed = ("run", "log")
    flags_lib.require(argv, needed, "--run, --log and often --behaviour")
    if values.fn and values.reward_model:
      raise UserError("give one of --fn and --reward_model, not both")
    scorer = _scorer(values)
    if scorer is None and values["samples"].present:
      raise UserError(
        "--samples are drawn for --fn or --reward_model to score: leave it out"
      )
    user_code.load_all(values.imports)
    table = load(values.log, columns=values.columns)
    policy = Policy.load(values.run, values.step)
    behaviour = Policy.load(values.behaviour) if values.behaviour else None
    evidence = from_log(
      policy,
      table.records,
      behaviour=behaviour,
      scorer=scorer,
      samples=values.samples,
      batch_size=_BATCH,
    )
    report = estimate(evidence, seed=values.seed)
    if values.out:
      out = pathlib.Path(values.out)
      out.parent.mkdir(parents=True, exist_ok=True)
      write_json(out, dataclasses.asdict(report))
  except UserError as error:
    flags_lib.complain("offalign.estimate", error)
    return 2
  for line in lines(report):
    flags_lib.say(line)
  return 1 if report.refusal else 0


def lines(report: Report) -> list[str]:
  """The report as lines for a console."""
  said = [
    f"the log: {count(report.completions, 'completion')} of "
    f"{count(report.prompts, 'prompt')}, mean reward {report.logged:.4g}",
    f"the new policy: they count for {report.effective:,.1f} of them, the "
    f"largest for {report.largest:.1%}; mean weight {report.mean_weight:.3g} "
    "(about 1 where the log covers the policy)",
  ]
  if report.refusal:
    return [*said, f"no estimate: {report.refusal}"]
  width = max(map(len, report.estimates))
  said += [
    f"{name:{width}}  {x.value:.4g} [{x.low:.4g}, {x.high:.4g}], against the "
    f"log {x.gain:+.4g} [{x.gain_low:+.4g}, {x.gain_high:+.4g}]"
    for name, x in report.estimates.items()
  ]
  last = list(report.estimates.values())[-1]
  if last.gain_low > 0:
    verdict = "better than what wrote the log: worth an A/B test"
  elif last.gain_high < 0:
    verdict = "worse than what wrote the log"
  else:
    verdict = "not told apart from what wrote the log"
  return [*said, f"by the last line, {verdict} (95% intervals over prompts)"]


def _scorer(values: flags.FlagValues) -> Scorer | None:
  """The reward model or the function that the flags name."""
  if values.fn:
    return Gold(values.fn).scores
  if values.reward_model:
    model = Rewards(pathlib.Path(values.reward_model), "newest", _BATCH)
    return lambda pairs: model.of(pairs)[0]
  return None


def _flags() -> None:
  for name, default, meaning in (
    ("run", None, "the new policy: a run folder or a model folder"),
    ("step", "newest", "of its checkpoint: newest, best or a number"),
    ("log", None, "rated completions, in any form that train reads"),
    ("columns", None, "columns of other names, as --cfg.data.columns"),
    ("behaviour", None, "the policy that wrote the log: a run or a folder"),
    ("reward_model", None, "the run folder of a reward model"),
    ("fn", None, "my_file.py:function or package.module:function"),
    ("out", None, "a file to write the report to, as JSON"),
  ):
    flags.DEFINE_string(name, default, meaning)
  flags.DEFINE_integer("samples", 4, "of each prompt, to score", 1)
  flags.DEFINE_integer("seed", 0, "of the bootstrap")
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("estimate", main, __doc__, _flags)
