"""offalign merge RUN RUN ... --how=mean|slerp|ties|ema --out=DIR

Merges the weights of runs, policies or reward models, into a run folder that is
opened, exported, judged with and started from (--cfg.init) like any other. For
example:

  offalign merge runs/a runs/b runs/c --out=runs/soup
  offalign merge runs/a runs/b --how=slerp --weights=3,1 --out=runs/between
  offalign merge runs/a runs/b --how=ties --density=0.2 --out=runs/ties
  offalign merge runs/a --how=ema --decay=0.9 --out=runs/smooth

The runs must be of one network and one tokenizer. Adapters of LoRA are merged
as whole weights, W + scale A B. run.json of the result says which runs, which
steps and how ("merged").
"""

from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign import user_code
from offalign.data.reading.records import count
from offalign.errors import UserError, printable, speaking
from offalign.programs import flags as flags_lib

_USAGE = "RUN RUN ... --out=DIR"


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Merges; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    runs = list(argv[1:])
    if not runs:
      raise UserError(f"no run is named: give {_USAGE}")
    flags_lib.require(argv[:1], ("out",), _USAGE)
    user_code.load_all(values.imports)
    given: dict[str, Any] = {
      name: values[name].value
      for name in ("how", "base", "density", "scale", "decay")
    }
    given["weights"] = _numbers(values.weights)
    given["steps"] = values.steps or None
    # Imported here: it brings jax, which --help and mistakes do without.
    from offalign.policy.merging.merge import KEY, merge_runs

    merged = merge_runs(runs, values.out, **given)
  except UserError as error:
    flags_lib.complain("offalign.merge", error)
    return 2
  parts = merged.about[KEY]["runs"]
  for part in parts:
    flags_lib.say(
      f"{part['share']:.4f} of {printable(part['run'])} at step {part['step']}"
    )
  what = count(len(parts), "checkpoint")
  flags_lib.say(f"wrote the {values.how} of {what} to {values.out}")
  return 0


def _numbers(words: Sequence[str] | None) -> list[float] | None:
  try:
    return [float(word) for word in words] if words else None
  except ValueError:
    raise UserError(
      f"--weights={','.join(words or ())} are no numbers: write them like 3,1"
    ) from None


def _flags() -> None:
  for name, default, meaning in (
    (
      "how",
      "mean",
      "mean, slerp (of two), ties, or ema (over one run's steps)",
    ),
    ("out", None, "a new run folder"),
    (
      "base",
      None,
      "of ties: the run or model folder that changes are counted from; "
      "default: what all runs began with",
    ),
  ):
    flags.DEFINE_string(name, default, meaning)
  flags.DEFINE_list(
    "weights", None, "how much each run counts; default: all alike"
  )
  flags.DEFINE_list(
    "steps",
    None,
    "of the checkpoints: newest, best or a number, one for each run or one for "
    "all; of ema, those to average; default: newest, and of ema all",
  )
  for name, meaning in (
    ("density", "of ties: the share of changes that is kept; default: 0.2"),
    ("scale", "of ties: the factor on the merged change; default: 1"),
    ("decay", "of ema: what the average keeps at each step; default: 0.9"),
  ):
    flags.DEFINE_float(name, None, meaning)
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("merge", main, __doc__, _flags)
