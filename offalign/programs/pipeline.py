"""offalign pipeline rlhf|rest|iterated_dpo --cfg.out=FOLDER ...

Trains runs that follow one another: supervised fine-tuning, a reward model,
and a last stage on the policy's own samples. --cfg.X is an option of `offalign
train` for all stages that read it, --STAGE.X the same for one stage:

  offalign pipeline rlhf --cfg.data.path=log.jsonl --cfg.out=runs/shop \\
    --sft.steps=500 --reward_model.steps=200 --ppo.grow.rounds=100

  rlhf          stages sft, reward_model, ppo
  rest          stages sft, reward_model, rest
  iterated_dpo  stages sft, reward_model, dpo

With --cfg.grow.score=my_file.py:function no reward model is trained. Each stage
is a plain run in FOLDER/1-sft and so on; --dry_run prints their commands and
trains nothing. The same command goes on where it was stopped. It ends in
FOLDER/pipeline.html, a page with the figures, time and command of each stage.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign.config import Config
from offalign.distributed import hosts, interrupts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, marked, speaking
from offalign.files import FULL, Unwritten, unwritten
from offalign.programs import flags as flags_lib
from offalign.training.pipelines import recipes
from offalign.training.pipelines.stages import Stage, plan

_NAME = "offalign.pipeline"
_USAGE = "one pipeline, such as rlhf, and flags that begin with --cfg."


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Trains the stages; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    if len(argv) < 2:
      raise UserError(
        f"name a pipeline: {', '.join(recipes.RECIPES)}, as in offalign "
        "pipeline rlhf"
      )
    flags_lib.require(argv[1:], (), _USAGE)
    recipe = recipes.get(argv[1])
    shared = _given("cfg")
    out = str(shared.pop("out", ""))
    own = {stage: _given(stage) for stage in recipes.STAGES}
    stages = plan(recipe, out, shared, own)
    # Imported here, so that --help and mistakes need not wait for it.
    from offalign.training.pipelines import report
    from offalign.training.pipelines import run as run_lib

    if values.dry_run:
      run_lib.check_all(stages)
      _print(stages)
      return 0
    with Stop() as stop:
      found = run_lib.train(recipe.name, stages, out, stop)
    flags_lib.say(report.text(found, report.summarise(found)).split("\n\n")[1])
    return 0
  except Stopped as stopped:
    if stopped.interrupted:
      flags_lib.complain(_NAME, str(stopped))
      return interrupts.STATUS
    hosts.say(str(stopped))
    return 0
  except KeyboardInterrupt:  # of one that does not listen for it
    flags_lib.complain(
      _NAME, "interrupted. The same command goes on from what is trained."
    )
    return interrupts.STATUS
  except Unwritten as error:
    flags_lib.complain(_NAME, error)
    return 1
  except UserError as error:
    flags_lib.complain(_NAME, error)
    return 2
  except FloatingPointError as error:  # NonFinite, of training
    flags_lib.complain(
      _NAME,
      f"{marked(error.args[0])}. Checkpoints and metrics up to there are kept.",
    )
    return 1
  except OSError as error:
    if error.errno not in FULL:
      raise
    where = unwritten(error.filename or str(values["cfg.out"].value), error)
    flags_lib.complain(_NAME, where)
    return 1


def _print(stages: Sequence[Stage]) -> None:
  for number, stage in enumerate(stages, 1):
    flags_lib.say(f"# stage {number} of {len(stages)}: {stage.what}")
    flags_lib.say(stage.command)


def _given(prefix: str) -> dict[str, Any]:
  """The flags that were given under a prefix, by the names of options."""
  values = flags.FLAGS
  return {
    name.removeprefix(f"{prefix}."): values[name].value
    for name in values
    if name.startswith(f"{prefix}.") and values[name].present
  }


def _with_stages(argv: Sequence[str]) -> list[str]:
  """Defines the flags of stages, which --help does not list one by one."""
  for stage in recipes.STAGES:
    flags_lib.define(Config, stage, flags.FLAGS)
  return list(argv)


def _flags() -> None:
  flags.DEFINE_bool(
    "dry_run", False, "print the command of each stage, and train nothing"
  )
  flags_lib.define(Config, values=flags.FLAGS)


def run() -> None:
  """Starts the program."""
  flags_lib.start("pipeline", main, __doc__, _flags, _with_stages)
