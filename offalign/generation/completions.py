"""Files of completions: JSON lines of a prompt and one completion of it."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from offalign.errors import UserError
from offalign.files import parse_object

Prompt = str | tuple[tuple[str, str], ...]
"""Plain text, or the (role, content) turns before an assistant's reply."""


@dataclasses.dataclass(frozen=True)
class Completions:
  """Completions that one contestant wrote.

  Attributes:
    name: the contestant's name.
    prompts: each a text, or (role, content) turns.
    texts: one completion of each prompt.
  """

  name: str
  prompts: tuple[Prompt, ...]
  texts: tuple[str, ...]


def read(path: str | pathlib.Path, name: str | None = None) -> Completions:
  """Reads a file of completions.

  Args:
    path: JSON lines with "prompt" (text, or a list of role/content) and
      "completion" (text); other keys are not looked at.
    name: the contestant's name; default: the file's name without its ending.

  Raises:
    UserError: naming the line.
  """
  path = pathlib.Path(path)
  prompts, texts = [], []
  for where, row in _rows(path):
    prompts.append(_prompt(row, where))
    text = row.get("completion")
    if not isinstance(text, str):
      raise UserError(f"{where} has no 'completion' that is text")
    texts.append(text)
  if not texts:
    raise UserError(f"{path} holds no completion")
  return Completions(name or path.stem, tuple(prompts), tuple(texts))


def read_prompts(path: str | pathlib.Path) -> tuple[Prompt, ...]:
  """The distinct prompts of a file of JSON lines, in order.

  Raises:
    UserError: naming the line.
  """
  path = pathlib.Path(path)
  found = dict.fromkeys(_prompt(row, where) for where, row in _rows(path))
  if not found:
    raise UserError(f"{path} holds no prompt")
  return tuple(found)


def line(prompt: Prompt, completion: str, **more: Any) -> str:
  """Formats one line of a file of completions."""
  written: Any = prompt
  if not isinstance(prompt, str):
    written = [{"role": role, "content": text} for role, text in prompt]
  return json.dumps({"prompt": written, "completion": completion, **more})


def align(a: Completions, b: Completions) -> tuple[list[int], list[int]]:
  """Pairs the completions of a and b by prompt, the k-th with the k-th.

  Returns:
    Indices into a and into b, in the order of a.

  Raises:
    UserError: where a and b differ in their prompts, or in how often a prompt
      occurs.
  """
  places: dict[Prompt, list[int]] = {}
  for j, prompt in enumerate(b.prompts):
    places.setdefault(prompt, []).append(j)
  waiting = {prompt: iter(js) for prompt, js in places.items()}
  pairs = [
    (i, next(waiting.get(prompt, iter(())), None))
    for i, prompt in enumerate(a.prompts)
  ]
  met = [(i, j) for i, j in pairs if j is not None]
  if not len(met) == len(a.prompts) == len(b.prompts):
    raise UserError(
      f"{a.name} and {b.name} do not have the same prompts: of "
      f"{len(a.prompts)} and {len(b.prompts)} completions, {len(met)} meet; "
      "complete the same prompts with both, equally often"
    )
  return [i for i, _ in met], [j for _, j in met]


def _rows(path: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
  try:
    lines = path.read_text(encoding="utf-8").split("\n")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read: {error}") from None
  rows = []
  for number, text in enumerate(lines):
    if not text.strip():
      continue
    where = f"{path}, row {number}"
    rows.append((where, parse_object(text, where)))
  return rows


def _prompt(row: dict[str, Any], where: str) -> Prompt:
  prompt = row.get("prompt")
  if isinstance(prompt, str):
    return prompt
  if isinstance(prompt, Sequence) and prompt:
    turns: list[tuple[Any, Any]] = [
      (turn.get("role"), turn.get("content"))
      for turn in prompt
      if isinstance(turn, dict)
    ]
    texts = [isinstance(x, str) for turn in turns for x in turn]
    if len(turns) == len(prompt) and all(texts):
      return tuple(turns)
  raise UserError(
    f"{where} has no 'prompt' that is text or a list of role and content"
  )
