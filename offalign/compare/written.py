"""Have policies complete the prompts, and keep the completions in a folder."""

import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from offalign.compare.contestants import Contestant
from offalign.data.reading.records import count
from offalign.distributed import hosts
from offalign.errors import UserError, concerning, option
from offalign.files import write_atomically, write_json, writing
from offalign.generation import completions
from offalign.generation.completions import Completions, Prompt
from offalign.policy import limit as limits
from offalign.policy.folder import ABOUT
from offalign.policy.policy import Policy

FOLDER = "completions"
"""Of the files of completions, inside the folder of the comparison."""
ROWS, RECORD = "rows.jsonl", "compare.json"
"""Files of a comparison that it replaces: rows of a board, and all as JSON."""
_MADE = "made.json"  # file -> digest of what its completions depend on


def common_limit(
  contestants: Sequence[Contestant], given: int | None
) -> tuple[int | None, str]:
  """A limit of tokens that is the same for all, so that lengths compare.

  Args:
    contestants: the policies.
    given: by the user.

  Returns:
    The limit, None where the default of each is the same; and a sentence
    where it is another than the default of one.
  """
  if given is not None:
    return given, ""
  of_runs = [
    limits.of_run(one.policy.about).tokens for one in contestants if one.is_run
  ]
  alike = len(set(of_runs)) == 1 and len(of_runs) == len(contestants)
  if alike or not of_runs:
    return None, ""
  return max(of_runs), (
    f"completions of {max(of_runs):,} tokens at most, the longest limit of the "
    f"runs, for all alike ({option('max_new_tokens')} sets another)"
  )


def write_all(
  contestants: Sequence[Contestant],
  prompts: Sequence[Prompt],
  drawing: dict[str, Any],
  out: pathlib.Path,
  *,
  verbose: bool = True,
) -> list[Completions]:
  """The completions of each policy, in the order of the prompts.

  A file that is there already, of the same policy, prompts and options, is
  read and not written again.

  Args:
    contestants: the policies.
    prompts: distinct.
    drawing: options of `Policy.generate`.
    out: the folder of the comparison.
    verbose: says whose completions are written.

  Raises:
    UserError: see `Policy.generate`.
  """
  folder = out / FOLDER
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  made, found = _made(folder), []
  for one, file in zip(contestants, files(contestants), strict=True):
    path, digest = folder / file, _digest(one, prompts, drawing)
    if not (path.exists() and made.get(file) == digest):
      # Opened anew, so that only one policy's weights are in memory.
      policy = Policy.load(one.path, _step(one))
      if verbose:
        hosts.say(f"{one.name} completes {count(len(prompts), 'prompt')}")
      with concerning(one.path):
        done = policy.generate(prompts, **drawing, verbose=verbose)
      lines = [
        completions.line(prompt, x.text, **completions.about(x))
        for prompt, x in zip(prompts, done, strict=True)
      ]
      write_atomically(path, "".join(f"{line}\n" for line in lines))
      made[file] = digest
      write_json(folder / _MADE, made)
    found.append(completions.read(path, one.name))
  return found


def files(contestants: Sequence[Contestant]) -> list[str]:
  """Names of the policies' files: NAME.jsonl, with a number where needed."""
  taken: set[str] = set()
  out = []
  for one in contestants:
    slug = re.sub(r"[^A-Za-z0-9=._-]+", "-", one.name).strip("-.") or "policy"
    name, number = slug, 1
    while name.lower() in taken:
      number += 1
      name = f"{slug}-{number}"
    taken.add(name.lower())
    out.append(f"{name}.jsonl")
  return out


def _step(one: Contestant) -> str:
  return str(one.policy.step) if one.is_run else "newest"


def _made(folder: pathlib.Path) -> dict[str, str]:
  try:
    found = json.loads((folder / _MADE).read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return {}  # all are written anew
  return found if isinstance(found, dict) else {}


def _digest(
  one: Contestant, prompts: Sequence[Prompt], drawing: dict[str, Any]
) -> str:
  parts = [one.identity(), list(prompts), sorted(drawing.items())]
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_folder(out: pathlib.Path) -> None:
  """Refuses a folder that another program's files would be lost in.

  Raises:
    UserError: where it is a file, a run folder, or has rows that no comparison
      wrote.
  """
  what = ""
  if out.is_file():
    what = "is a file"
  elif (out / ABOUT).exists():
    what = "is a run folder"
  elif (out / ROWS).exists() and not (out / RECORD).exists():
    what = f"has a {ROWS} of its own"
  if what:
    raise UserError(
      f"{option('out', out)} {what}: name a folder for the comparison"
    )
