"""python -m offalign.generate --run=RUN --prompts=FILE --out=FILE

Completes the prompts of a file of JSON lines ("prompt": text, or a list of
role and content), or those that the run holds out (--prompts=heldout), with
the policy of a run, and writes "prompt", "completion",
"tokens" and "finished" for each, which is false where the completion did not
end within --max_new_tokens. `offalign.judge` compares such files.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign import user_code
from offalign.data.reading.records import count
from offalign.errors import UserError, speaking
from offalign.files import write_atomically
from offalign.generation import completions
from offalign.generation.completing import Completed
from offalign.policy import held_out
from offalign.policy.policy import BATCH, Policy
from offalign.programs import flags as flags_lib

_DRAWING = ("max_new_tokens", "temperature", "seed", "batch_size")


def generate(
  run: str | pathlib.Path,
  prompts: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  step: str = "newest",
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  batch_size: int = BATCH,
) -> int:
  """Completes each distinct prompt of a file once, and writes a file.

  Args:
    run: the run folder.
    prompts: JSON lines with "prompt"; or "heldout", those that the run
      holds out.
    out: the file to write; it is there whole or not at all.
    step: of the checkpoint: "newest", "best" or a number.
    max_new_tokens: see `Policy.generate`.
    temperature: see `Policy.generate`.
    seed: see `Policy.generate`.
    batch_size: prompts at a time.

  Returns:
    The checkpoint's step.

  Raises:
    UserError: for no checkpoint, or prompts that cannot be encoded.
  """
  drawing = {
    "max_new_tokens": max_new_tokens,
    "temperature": temperature,
    "seed": seed,
    "batch_size": batch_size,
  }
  return _write(Policy.load(run, step), prompts, out, drawing)[0]


def _write(
  policy: Policy,
  prompts: str | pathlib.Path,
  out: str | pathlib.Path,
  drawing: dict[str, Any],
) -> tuple[int, list[Completed]]:
  """The checkpoint's step, and the completions that were written."""
  asked = held_out.asked(policy.folder, prompts)
  done = policy.generate(asked, **drawing)
  lines = [
    completions.line(prompt, x.text, **completions.about(x))
    for prompt, x in zip(asked, done, strict=True)
  ]
  out = pathlib.Path(out)
  out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(out, "".join(f"{line}\n" for line in lines))
  return policy.step, done


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Generates; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    needed = ("run", "prompts", "out")
    flags_lib.require(argv, needed, "--run, --prompts and --out")
    user_code.load_all(values.imports)
    drawing = {name: values[name].value for name in _DRAWING}
    policy = Policy.load(values.run, values.step)
    step, done = _write(policy, values.prompts, values.out, drawing)
  except UserError as error:
    flags_lib.complain("offalign.generate", error)
    return 2
  cut = sum(not x.finished for x in done)
  flags_lib.say(
    f"wrote {count(len(done), 'completion')} of {values.run} at step {step} to "
    f"{values.out}" + (f", {cut:,} of them unfinished" if cut else "")
  )
  return 0


def _flags() -> None:
  for name, default, meaning in (
    ("run", None, "the run folder"),
    (
      "prompts",
      None,
      'JSON lines with "prompt"; or heldout, those that the run holds out',
    ),
    ("out", None, "the file to write"),
    ("step", "newest", "of the checkpoint: newest, best or a number"),
  ):
    flags.DEFINE_string(name, default, meaning)
  flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "tokens at most; default: as many as the longest completion of the run's "
    "training",
    lower_bound=1,
  )
  flags.DEFINE_float(
    "temperature",
    1.0,
    "0 takes the likeliest tokens",
    lower_bound=0.0,
  )
  flags.DEFINE_integer("seed", 0, "of the samples")
  flags.DEFINE_integer(
    "batch_size",
    BATCH,
    "prompts at a time",
    lower_bound=1,
  )
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("generate", main, __doc__, _flags)
