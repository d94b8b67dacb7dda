"""The programs: flags -> one call of the library. Nothing imports them.

`PROGRAMS` lists them; `python -m offalign NAME` and `offalign NAME` start one.
Each is a module here with a function `run`, imported when it is started: the
list needs no jax.
"""

import importlib
import sys

from offalign.distributed import interrupts
from offalign.errors import suggest

PROGRAMS = {
  "example": "writes a sample log of feedback to try everything on",
  "train": "trains a policy on a log of feedback",
  "generate": "completes prompts with the policy of a run",
  "chat": "talks with the policy of a run, or with a model folder",
  "serve": "answers over HTTP, as OpenAI's chat completions do",
  "score": "gives completions rewards, by a function or a reward model",
  "judge": "says how often one run's completions are preferred to another's",
  "rate": "writes a blind page for people's ratings, and says how they agree",
  "compare": "says which of several runs is better, on a page of its own",
  "estimate": "says what a policy is worth, from a log of another's",
  "sweep": "trains a grid of options and seeds, and says which is best",
  "pipeline": "trains runs that follow one another, as RLHF's three stages do",
  "merge": "merges the weights of several runs into one run folder",
  "export": "writes the policy of a run as a Hugging Face model folder",
  "plan": "says what a training step takes on TPUs, before paying for them",
  "audit": "looks at data before anything is trained on it",
  "leaderboard": "ranks the results in a folder, as text, HTML and plots",
}

# What Ctrl-C leaves of the work of a program, where that is to be said.
_LOST = {
  "train": "nothing is lost, and the same command goes on",
  "generate": "no file was written",
  "score": "no file was written",
  "estimate": "no report was written",
  "judge": (
    "no report was written; the answers of an endpoint are kept, so the same "
    "command asks nothing twice"
  ),
  "compare": (
    "completions that were written are kept, and the same command goes on"
  ),
  "sweep": (
    "what is trained and written is kept, and the same command goes on"
  ),
  "pipeline": (
    "what is trained is kept, and the same command goes on with the rest"
  ),
  "merge": (
    "no run was written; what there is of it is a folder beside --out whose "
    "name begins with a dot, to be deleted"
  ),
  "export": (
    "no model was written; what there is of it is a folder beside --out whose "
    "name begins with a dot, to be deleted"
  ),
  "audit": "no report was written",
}


def run() -> None:
  """Starts the program that the command line names, or lists them all."""
  name, *rest = sys.argv[1:] or ["--help"]
  if name in ("--help", "-h", "help"):
    print(listing())
    return
  if name not in PROGRAMS:
    print(f"offalign: {_unknown(name)}", file=sys.stderr)
    sys.exit(2)
  sys.argv = [f"offalign.{name}", *rest]
  interrupts.listen(sys.argv[0], _LOST.get(name))
  importlib.import_module(f"offalign.programs.{name}").run()


def listing() -> str:
  """Lists the programs, a line for each."""
  width = max(map(len, PROGRAMS))
  lines = [f"  {name:{width}}  {does}" for name, does in PROGRAMS.items()]
  return "\n".join(
    [
      "Offline alignment of language models: offalign NAME [ARGUMENTS]",
      "",
      *lines,
      "",
      "offalign NAME --help lists the flags of one. `python -m offalign NAME` "
      "is the same.",
    ]
  )


def _unknown(name: str) -> str:
  if name.startswith("-"):
    return (
      f"name a program before {name}: offalign NAME {name} (programs: "
      f"{', '.join(PROGRAMS)})"
    )
  near = suggest(name, PROGRAMS) or f" (programs: {', '.join(PROGRAMS)})"
  return f"there is no program {name!r}{near}"


interrupts.tell(_LOST.get(interrupts.started_as() or ""))
