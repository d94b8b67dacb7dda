"""python -m offalign.generate --run=RUN --prompts=FILE --out=FILE

Completes the prompts of a file of JSON lines ("prompt": text, or a list of
role and content) with the policy of a run, and writes "prompt", "completion",
"tokens" and "finished" for each. What `offalign.judge` compares.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags, logging

from offalign import user_code
from offalign.config.config import blaming
from offalign.data import Tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.generation import completions
from offalign.generation.completing import Completed, complete, encode
from offalign.policy import start
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import ABOUT, TOKENIZER, read_about
from offalign.programs import flags as flags_lib

BATCH = 32


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
  """Completes each distinct prompt of a file once.

  The random numbers are the seed's and the run folder's name's, so that two
  runs do not draw alike.

  Args:
    run: the run folder.
    prompts: JSON lines with "prompt".
    out: the file to write; it is there whole or not at all.
    step: of the checkpoint: "newest", "best" or a number.
    max_new_tokens: default: the longest completion of the run's training.
    temperature: 0 takes the likeliest tokens.
    seed: of the samples.
    batch_size: prompts at a time.

  Returns:
    The checkpoint's step.

  Raises:
    UserError: for no checkpoint, or prompts that cannot be encoded.
  """
  asked = completions.read_prompts(prompts)
  done, number = complete_with(
    run,
    asked,
    step=step,
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
  part = out.with_name(out.name + ".part")
  part.write_text("\n".join(lines) + "\n", encoding="utf-8")
  os.replace(part, out)
  return number


def complete_with(
  run: str | pathlib.Path,
  prompts: Sequence[completions.Prompt],
  *,
  step: str = "newest",
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  batch_size: int = BATCH,
) -> tuple[list[Completed], int]:
  """What `generate` writes, and the checkpoint's step; writes nothing."""
  folder = pathlib.Path(run)
  about = read_about(folder)
  if about is None:
    raise UserError(f"{folder} is not a run folder: it has no {ABOUT}")
  with Checkpoints(folder) as checkpoints:
    if checkpoints.latest is None:
      raise UserError(f"{folder} has no complete checkpoint yet")
  config = about["config"]
  with blaming(f"--step={step}"):
    number = choose(folder, step, config.get("keep_best"))
  tokenizer = Tokenizer.load(folder / TOKENIZER)
  model = start.model_of(folder, about)
  if max_new_tokens is None:
    max_new_tokens = config.get("data.max_completion") or 256
  encoded, cut = encode(tokenizer, prompts, config.get("data.max_prompt"))
  if cut:
    print(
      f"{cut} of {len(prompts)} prompts are cut to their end, as in training"
    )
  done = complete(
    model,
    start.restore(folder, model, sharding.one_device(), number),
    tokenizer,
    encoded,
    stream=f"{seed}/{folder.resolve().name}",
    max_new_tokens=max_new_tokens,
    batch_size=min(batch_size, len(prompts)),
    temperature=temperature,
  )
  return done, number


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
    print(f"offalign.generate: {error}", file=sys.stderr)
    return 2
  print(f"wrote completions of {values.run} at step {step} to {values.out}")
  return 0


def run() -> None:
  """The entry point of `offalign-generate`."""
  module = sys.argv[0]
  for name, default, meaning in (
    ("run", None, "the run folder"),
    ("prompts", None, 'JSON lines with "prompt"'),
    ("out", None, "the file to write"),
    ("step", "newest", "of the checkpoint: newest, best or a number"),
  ):
    flags.DEFINE_string(name, default, meaning, module_name=module)
  flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "tokens at most; default: the run's own limit",
    lower_bound=1,
    module_name=module,
  )
  flags.DEFINE_float(
    "temperature",
    1.0,
    "0 takes the likeliest tokens",
    lower_bound=0.0,
    module_name=module,
  )
  flags.DEFINE_integer("seed", 0, "of the samples", module_name=module)
  flags.DEFINE_integer(
    "batch_size",
    BATCH,
    "prompts at a time",
    lower_bound=1,
    module_name=module,
  )
  flags_lib.define_imports()
  app.run(main)
