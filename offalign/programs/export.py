"""python -m offalign.export --run=RUN --out=DIR: a run as a model folder.

The folder holds the policy of the run's newest checkpoint (--step=N or
--step=best for another) as safetensors, with config.json and the tokenizer's
files, as `transformers` reads it. Adapters that LoRA trained are merged into
the weights, or with --adapter written alone, as `peft` reads them. A reward
model is written as a classifier of one label (...ForSequenceClassification).
"""

from collections.abc import Sequence

from absl import flags, logging

from offalign import user_code
from offalign.errors import UserError, speaking
from offalign.policy.export import DTYPES
from offalign.policy.policy import Policy
from offalign.policy.trained_rewards import is_reward_model
from offalign.programs import flags as flags_lib


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Exports; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, ("run", "out"), "--run=RUN and --out=DIR")
    user_code.load_all(values.imports)
    policy = Policy.load(values.run, values.step)
    policy.export(values.out, adapter=values.adapter, dtype=values.dtype)
  except UserError as error:
    flags_lib.complain("offalign.export", error)
    return 2
  what = "policy"
  if is_reward_model(policy.folder, policy.about):
    what = "reward model"
  if values.adapter:
    what = f"{what}'s adapter"
  where = f"{values.run} at step {policy.step}"
  flags_lib.say(f"wrote the {what} of {where} to {values.out}")
  return 0


def _flags() -> None:
  flags.DEFINE_string("run", None, "the run folder")
  flags.DEFINE_string("out", None, "a new folder")
  flags_lib.define_step()
  flags.DEFINE_bool(
    "adapter",
    False,
    "write what LoRA trained alone, as peft reads it",
  )
  flags.DEFINE_enum("dtype", "float32", DTYPES, "of the file's weights")
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("export", main, __doc__, _flags)
