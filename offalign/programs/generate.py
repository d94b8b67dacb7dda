"""offalign generate --run=RUN --prompts=FILE --out=FILE

Completes the prompts of a file of JSON lines ("prompt": text, or a list of
role and content), or those that the run holds out (--prompts=heldout), with the
policy of a run, or of a Hugging Face model folder, and writes
"prompt", "completion", "tokens" and "finished" for each, which is false where
the completion did not end within --max_new_tokens. With --samples=K each prompt
has K such lines. `offalign judge` compares such files.

  offalign generate --run=RUN --prompt="What is the capital of France?"
  echo "What is the capital of France?" | offalign generate --run=RUN

complete what is typed, each line of it, and print; where the policy has a chat
template, a line is what a user says (--nochat: a plain text).

  offalign generate --run=RUN --prompts=FILE --out=FILE --best_of=16 \\
    --score="reward_model(run='runs/rm')"

draws 16 completions of each prompt and keeps the one of highest score.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign import user_code
from offalign.data.reading.records import count
from offalign.errors import UserError, printable, speaking
from offalign.files import write_atomically
from offalign.generation import completions
from offalign.generation.completing import Completed, unfinished
from offalign.generation.completions import Prompt
from offalign.policy import held_out
from offalign.policy.policy import BATCH, Policy
from offalign.programs import best_of
from offalign.programs import flags as flags_lib

_DRAWING = (
  "max_new_tokens",
  "temperature",
  "top_k",
  "top_p",
  "samples",
  "seed",
  "batch_size",
)


def generate(
  run: str | pathlib.Path,
  prompts: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  step: str = "newest",
  **drawing: Any,
) -> int:
  """Completes each distinct prompt of a file, and writes a file.

  Args:
    run: the run folder, or a model folder.
    prompts: JSON lines with "prompt"; or "heldout", those that the run
      holds out.
    out: the file to write; it is there whole or not at all.
    step: of the checkpoint: "newest", "best" or a number.
    drawing: options of `Policy.generate`.

  Returns:
    The checkpoint's step.

  Raises:
    UserError: for no checkpoint, or prompts that cannot be encoded.
  """
  policy = Policy.load(run, step)
  _write(policy, held_out.asked(policy.folder, prompts), out, drawing)
  return policy.step


def _write(
  policy: Policy,
  asked: Sequence[Prompt],
  out: str | pathlib.Path,
  drawing: dict[str, Any],
) -> list[Completed]:
  """Writes completions to a file; returns them."""
  done = policy.generate(asked, **drawing)
  each = len(done) // len(asked)
  lines = [
    completions.line(asked[i // each], x.text, **completions.about(x))
    for i, x in enumerate(done)
  ]
  out = pathlib.Path(out)
  out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(out, "".join(f"{line}\n" for line in lines))
  return done


def _asked(policy: Policy, values: flags.FlagValues) -> Sequence[Prompt]:
  """The prompts of --prompts, of --prompt, or of the standard input."""
  typed = list(values.prompt or ())
  if values.prompts:
    if typed:
      raise UserError("--prompt is set beside --prompts; leave one of them out")
    if values["chat"].present:
      raise UserError(
        "--chat is for prompts that are typed: a file says by its prompts what "
        "is a conversation; leave it out"
      )
    return held_out.asked(policy.folder, values.prompts)
  if not typed:
    if sys.stdin is None or sys.stdin.isatty():
      raise UserError(
        "there is no prompt: give --prompts=FILE, --prompt='TEXT', or lines on "
        "the standard input"
      )
    typed = [line.strip() for line in sys.stdin]
  typed = [text for text in typed if text.strip()]
  if not typed:
    raise UserError("there is no prompt: what was given is empty")
  chat = policy.chats if values.chat is None else values.chat
  return [(("user", text),) if chat else text for text in typed]


def _print(asked: Sequence[Prompt], done: Sequence[Completed]) -> None:
  """Prints completions; under their prompts, where there are several."""
  each = len(done) // len(asked)
  for i, x in enumerate(done):
    prompt = asked[i // each]
    if len(asked) > 1 and i % each == 0:
      said = prompt if isinstance(prompt, str) else prompt[-1][1]
      print(f"> {printable(said)}")
    print(printable(x.text))


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Generates; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, ("run",), "--run, --prompts and --out")
    if values.prompts and not values.out:
      raise UserError("--out is missing: name the file to write")
    user_code.load_all(values.imports)
    drawing: dict[str, Any] = {name: values[name].value for name in _DRAWING}
    choosing = best_of.wanted(values)
    policy = Policy.load(values.run, values.step)
    asked = _asked(policy, values)
    if choosing:
      best_of.generate(policy, asked, values, drawing)
      return 0
    if values.out is None:
      done = policy.generate(asked, verbose=False, **drawing)
      _print(asked, done)
      if said := unfinished(done):
        flags_lib.complain("offalign.generate", said)
      return 0
    done = _write(policy, asked, values.out, drawing)
  except UserError as error:
    flags_lib.complain("offalign.generate", error)
    return 2
  cut = sum(not x.finished for x in done)
  flags_lib.say(
    f"wrote {count(len(done), 'completion')} of {values.run} at step "
    f"{policy.step} to {values.out}"
    + (f", {cut:,} of them unfinished" if cut else "")
  )
  return 0


def _flags() -> None:
  flags_lib.define_policy()
  flags_lib.define_drawing()
  best_of.define()
  flags.DEFINE_string(
    "prompts",
    None,
    'JSON lines with "prompt"; or heldout, those that the run holds out',
  )
  flags.DEFINE_multi_string(
    "prompt", None, "a text to complete; may be given several times"
  )
  flags.DEFINE_bool(
    "chat",
    None,
    "whether --prompt is what a user says, and not plain text; default: where "
    "the policy has a chat template",
  )
  flags.DEFINE_string("out", None, "the file to write; default: print")
  flags.DEFINE_integer(
    "samples", 1, "completions of each prompt", lower_bound=1
  )
  flags.DEFINE_integer(
    "batch_size",
    BATCH,
    "prompts at a time",
    lower_bound=1,
  )


def run() -> None:
  """Starts the program."""
  flags_lib.start("generate", main, __doc__, _flags)
