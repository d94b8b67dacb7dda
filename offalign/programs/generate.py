"""offalign generate --run=RUN --prompts=FILE --out=FILE

Completes the prompts of a file of JSON lines ("prompt": text, or a list of
role and content), or those that the run holds out (--prompts=heldout), with the
policy of a run, or of a Hugging Face model folder, and writes
"prompt", "completion", "tokens" and "finished" for each, which is false where
the completion did not end within --max_new_tokens. A prompt that occurs several
times is completed once; with --samples=K each prompt has K lines, and --tokens
(the default there) adds the token ids and the log-prob of each as it was drawn,
which `offalign train` reads. `offalign judge` compares such files.

  offalign generate --run=RUN --prompt="What is the capital of France?"
  echo "What is the capital of France?" | offalign generate --run=RUN

complete what is typed, each line of it, and print; where the policy has a chat
template, a line is what a user says (--nochat: a plain text).

  offalign generate --run=RUN --prompts=FILE --out=FILE --best_of=16 \\
    --score="reward_model(run='runs/rm')"

draws 16 completions of each prompt and keeps the one of highest score.

  offalign generate --run=RUN --prompts=FILE --out=FILE --samples=4 \\
    --sampler="endpoint(url='http://localhost:8000/v1', model='NAME')"

has an engine such as vLLM or SGLang complete them, which has RUN's tokenizer.
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
from offalign.generation.endpoint import options as endpoint_options
from offalign.generation.endpoint.options import KEY
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
  "sampler",
)


def generate(
  run: str | pathlib.Path,
  prompts: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  step: str = "newest",
  tokens: bool | None = None,
  **drawing: Any,
) -> int:
  """Completes each distinct prompt of a file, and writes a file.

  Args:
    run: the run folder, or a model folder.
    prompts: JSON lines with "prompt"; or "heldout", those that the run
      holds out.
    out: the file to write; it is there whole or not at all.
    step: of the checkpoint: "newest", "best" or a number.
    tokens: whether to write "completion_ids" and "logprobs" too; None = where
      a prompt has several completions.
    drawing: options of `Policy.generate`.

  Returns:
    The checkpoint's step.

  Raises:
    UserError: for no checkpoint, or prompts that cannot be encoded.
  """
  policy = Policy.load(run, step)
  asked = held_out.asked(policy.folder, prompts)
  _write(policy, asked, out, drawing, tokens)
  return policy.step


def _write(
  policy: Policy,
  asked: Sequence[Prompt],
  out: str | pathlib.Path,
  drawing: dict[str, Any],
  tokens: bool | None,
) -> list[Completed]:
  """Writes completions to a file; returns them."""
  done = policy.generate(asked, **drawing)
  each = len(done) // len(asked)
  with_tokens = each > 1 if tokens is None else tokens
  lines = []
  for i, x in enumerate(done):
    prompt, text = asked[i // each], x.text
    written: Any = text
    if with_tokens and not isinstance(prompt, str):
      # As data to train on has it.
      written = [{"role": "assistant", "content": text}]
    about = completions.about(x, with_tokens=with_tokens)
    lines.append(completions.line(prompt, written, **about))
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


def _say_repeats(prompts: str | None, distinct: int) -> None:
  """Says where a file's prompts are fewer than its lines."""
  if not prompts or prompts == held_out.WORD:
    return
  lines = sum(completions.count_prompts(prompts).values())
  if lines > distinct:
    flags_lib.say(
      f"note: {prompts} has {count(lines, 'line')} of "
      f"{count(distinct, 'distinct prompt')}; each is completed once, and "
      "--samples=K times with that"
    )


def _print(asked: Sequence[Prompt], done: Sequence[Completed]) -> None:
  """Prints completions; under their prompts, where there are several."""
  each = len(done) // len(asked)
  for i, x in enumerate(done):
    prompt = asked[i // each]
    if len(asked) > 1 and i % each == 0:
      said = prompt if isinstance(prompt, str) else prompt[-1][1]
      print(f"> {printable(said)}")
    print(printable(x.text))


def _without_log_probs(
  done: Sequence[Completed], values: flags.FlagValues
) -> str:
  """Says why a file has no log-probs, or no tokens; "" where it has them."""
  asked = values.samples > 1 if values.tokens is None else values.tokens
  if not asked or all(x.logprobs for x in done):
    return ""
  if values.temperature == 0:
    return "note: no log-probs are written: at temperature 0 nothing is drawn"
  lacking = sum(not x.ids for x in done)
  if lacking:
    return (
      f"note: {lacking:,} of {len(done):,} completions came without token ids, "
      "and are written as text alone"
    )
  few = sum(not x.logprobs for x in done)
  return (
    f"note: {few:,} of {len(done):,} completions have no log-probs: the "
    "engine told none, or those of another distribution than they were drawn "
    "from (logprobs='processed' of the sampler says that it tells those)"
  )


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
      if values.tokens:
        raise UserError("--tokens is of a file: name it with --out")
      done = policy.generate(asked, verbose=False, **drawing)
      _print(asked, done)
      if said := unfinished(done):
        flags_lib.complain("offalign.generate", said)
      return 0
    _say_repeats(values.prompts, len(asked))
    done = _write(policy, asked, values.out, drawing, values.tokens)
  except UserError as error:
    flags_lib.complain("offalign.generate", error)
    return 2
  cut = sum(not x.finished for x in done)
  if note := _without_log_probs(done, values):
    flags_lib.say(note)
  by = f"{values.run} at step {policy.step}"
  if values.sampler:
    by = endpoint_options.parse(values.sampler).model
  flags_lib.say(
    f"wrote {count(len(done), 'completion')} of {by} to {values.out}"
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
  flags.DEFINE_bool(
    "tokens",
    None,
    "whether the file has the token ids (completion_ids) and the log-prob of "
    "each (logprobs) under the distribution that it was drawn from, with its "
    "temperature, top_k and top_p; default: with --samples",
  )
  flags.DEFINE_integer(
    "batch_size",
    BATCH,
    "completions that are made at a time",
    lower_bound=1,
  )
  flags.DEFINE_string(
    "sampler",
    None,
    "endpoint(url=..., model=...): an engine of OpenAI's protocol that "
    "completes in place of the run's policy; its key is in the environment "
    f"variable {KEY}",
  )


def run() -> None:
  """Starts the program."""
  flags_lib.start("generate", main, __doc__, _flags)
