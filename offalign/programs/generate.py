"""python -m offalign.generate --run=RUN --prompts=FILE --out=FILE

Completes the prompts of a file of JSON lines ("prompt": text, or a list of
role and content) with the policy of a run, and writes "prompt", "completion",
"tokens" and "finished" for each. `offalign.judge` compares such files.
"""

import pathlib
from collections.abc import Sequence

from absl import flags, logging

from offalign import user_code
from offalign.errors import UserError, speaking
from offalign.files import write_atomically
from offalign.generation import completions
from offalign.policy.policy import BATCH, Policy
from offalign.programs import flags as flags_lib


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
    prompts: JSON lines with "prompt".
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
  asked = completions.read_prompts(prompts)
  policy = Policy.load(run, step)
  done = policy.generate(
    asked,
    max_new_tokens=max_new_tokens,
    temperature=temperature,
    seed=seed,
    batch_size=batch_size,
  )
  lines = [
    completions.line(prompt, x.text, tokens=x.tokens, finished=x.finished)
    for prompt, x in zip(asked, done, strict=True)
  ]
  out = pathlib.Path(out)
  out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(out, "".join(f"{line}\n" for line in lines))
  return policy.step


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Generates; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    needed = ("run", "prompts", "out")
    flags_lib.require(argv, needed, "--run, --prompts and --out")
    user_code.load_all(values.imports)
    step = generate(
      values.run,
      values.prompts,
      values.out,
      step=values.step,
      max_new_tokens=values.max_new_tokens,
      temperature=values.temperature,
      seed=values.seed,
      batch_size=values.batch_size,
    )
  except UserError as error:
    flags_lib.complain("offalign.generate", error)
    return 2
  flags_lib.say(
    f"wrote completions of {values.run} at step {step} to {values.out}"
  )
  return 0


def _flags() -> None:
  for name, default, meaning in (
    ("run", None, "the run folder"),
    ("prompts", None, 'JSON lines with "prompt"'),
    ("out", None, "the file to write"),
    ("step", "newest", "of the checkpoint: newest, best or a number"),
  ):
    flags.DEFINE_string(name, default, meaning)
  flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "tokens at most; default: the run's own limit",
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
