"""Files of completions: JSON lines of a prompt and one completion of it."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from offalign.data.reading import faults, json_rows, logged_tokens
from offalign.data.reading.faults import Fault
from offalign.data.reading.logged_tokens import IDS, LOGPROBS
from offalign.data.reading.records import Problem
from offalign.errors import UserError, option

Prompt = str | tuple[tuple[str, str], ...]
"""Plain text, or the (role, content) turns before an assistant's reply."""


@dataclasses.dataclass(frozen=True)
class End:
  """How a completion ended.

  Attributes:
    finished: whether it ended by itself and was not cut; None = not known.
    tokens: how many it has; None = not known.
    prompt_cut: whether its prompt was longer than the run's limit.
    ids: its tokens; () where they are not known.
    logprobs: of each token, under the distribution that it was drawn from;
      None where they are not known.
  """

  finished: bool | None = None
  tokens: int | None = None
  prompt_cut: bool = False
  ids: tuple[int, ...] = ()
  logprobs: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Cuts:
  """Cut completions and prompts of one contestant.

  Attributes:
    completions: how many there are.
    unfinished: completions that did not end within the limit; None where that
      is not known of any.
    unknown: completions of which it is not known.
    within: the limit in tokens, as the longest of the unfinished has them;
      None where it is not known.
    prompts: prompts of which only the end was read.
  """

  completions: int
  unfinished: int | None
  unknown: int
  within: int | None
  prompts: int

  def sentences(self, name: str, limit: str = "max_new_tokens") -> list[str]:
    """What a reader of a win rate should know; [] where nothing was cut.

    Args:
      name: the contestant's.
      limit: the option that sets the limit.
    """
    said = []
    if self.unfinished:
      within = f" within {self.within:,} tokens" if self.within else ""
      said.append(
        f"{name}: {self.unfinished:,} of {self.completions:,} completions did "
        f"not end{within} ({option(limit)}), and are judged as far "
        "as they go."
      )
    if self.unfinished is not None and self.unknown:
      said.append(
        f"{name}: of {self.unknown:,} of {self.completions:,} completions it "
        "is not known whether they ended."
      )
    if self.prompts:
      said.append(
        f"{name}: {self.prompts:,} of {self.completions:,} prompts were cut "
        "to their end, as in training."
      )
    return said


@dataclasses.dataclass(frozen=True)
class Completions:
  """Completions that one contestant wrote.

  Attributes:
    name: the contestant's name.
    prompts: each a text, or (role, content) turns.
    texts: one completion of each prompt.
    ends: what is known of how each ended; () where nothing is known of any.
  """

  name: str
  prompts: tuple[Prompt, ...]
  texts: tuple[str, ...]
  ends: tuple[End, ...] = ()


def read(path: str | pathlib.Path, name: str | None = None) -> Completions:
  """Reads a file of completions.

  Args:
    path: JSON lines, or a JSON array, with "prompt" (text, or a list of
      role/content) and "completion" (text, or a list of one message), or with
      AlpacaEval's "instruction" and "output". Of what `offalign.generate`
      writes beside them, "finished", "tokens", "prompt_cut" and the tokens
      themselves are read; other keys are not looked at.
    name: the contestant's name; default: the file's name without its ending.

  Raises:
    UserError: naming the line.
  """
  path = pathlib.Path(path)
  prompts, texts, ends = [], [], []
  for where, row in _rows(path):
    prompts.append(_prompt(row, where))
    texts.append(_completion(row, where))
    ends.append(_end(row))
  if not texts:
    raise UserError(f"{path} holds no completion")
  known = any(end != End() for end in ends)
  return Completions(
    name or path.stem,
    tuple(prompts),
    tuple(texts),
    tuple(ends) if known else (),
  )


def read_prompts(path: str | pathlib.Path) -> tuple[Prompt, ...]:
  """The distinct prompts of a file of JSON lines, in order.

  Raises:
    UserError: naming the line.
  """
  return tuple(count_prompts(path))


def count_prompts(path: str | pathlib.Path) -> dict[Prompt, int]:
  """The distinct prompts of a file of JSON lines -> how often each occurs.

  Raises:
    UserError: naming the line.
  """
  path = pathlib.Path(path)
  found: dict[Prompt, int] = {}
  for where, row in _rows(path):
    prompt = _prompt(row, where)
    found[prompt] = found.get(prompt, 0) + 1
  if not found:
    raise UserError(f"{path} holds no prompt")
  return found


def prompts_of(
  rows: Iterable[tuple[int, Any]], name: str
) -> tuple[Prompt, ...]:
  """The distinct prompts of rows in memory, in order.

  Args:
    rows: the number of each row, and the row, with "prompt".
    name: of them, for errors.

  Raises:
    UserError: naming the row.
  """
  found = dict.fromkeys(_prompt(row, f"{name}, row {i}") for i, row in rows)
  if not found:
    raise UserError(f"{name} holds no prompt")
  return tuple(found)


def about(done: Any, *, with_tokens: bool = False) -> dict[str, Any]:
  """What a line of a file says beside a text.

  Args:
    done: a `Completed`, or an `End`.
    with_tokens: whether it has the tokens and their log-probs, as `load_data`
      reads them.
  """
  found: dict[str, Any] = {"tokens": done.tokens, "finished": done.finished}
  if with_tokens and done.ids:
    found |= {IDS: list(done.ids)}
    found |= {LOGPROBS: done.logprobs and list(done.logprobs)}
  found = {name: value for name, value in found.items() if value is not None}
  return found | ({"prompt_cut": True} if done.prompt_cut else {})


def ends_of(done: Sequence[Any]) -> tuple[End, ...]:
  """The ends of completions; () where `done` are plain texts."""
  if not all(hasattr(x, "finished") for x in done):
    return ()
  return tuple(End(x.finished, x.tokens, x.prompt_cut) for x in done)


def cuts(ends: Sequence[End], completions: int) -> Cuts:
  """Counts cut completions and prompts.

  Args:
    ends: of the completions, or none.
    completions: how many there are.
  """
  known = [end for end in ends if end.finished is not None]
  cut = [end for end in known if not end.finished]
  tokens = [end.tokens for end in cut if end.tokens is not None]
  return Cuts(
    completions,
    len(cut) if known else None,
    completions - len(known),
    max(tokens, default=None),
    sum(end.prompt_cut for end in ends),
  )


def _end(row: dict[str, Any]) -> End:
  finished, tokens = row.get("finished"), row.get("tokens")
  return End(
    finished if isinstance(finished, bool) else None,
    tokens if type(tokens) is int else None,
    row.get("prompt_cut") is True,
    *_logged(row),
  )


def _logged(
  row: dict[str, Any],
) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
  """Tokens and their log-probs, where a line has them; else nothing."""
  try:
    ids = logged_tokens.ids(row.get(IDS))
  except Fault:
    return (), None
  try:
    logps = logged_tokens.logprobs(row.get(LOGPROBS))
  except Fault:
    return ids, None
  return ids, logps if len(logps) == len(ids) else None


def line(prompt: Prompt, completion: Any, **more: Any) -> str:
  """Formats one line of a file of completions.

  Args:
    prompt: text, or the turns before the completion.
    completion: text, or a list of one message.
    more: further keys of the line.
  """
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
  rows = []
  for number, row in json_rows.stream(path).items:
    if isinstance(row, Problem):
      what = f"is {row.what}".replace("not valid JSON", "not JSON")
      if what.startswith("is not a JSON object but"):
        what = f"does not hold a JSON object{what[20:]}"
      raise UserError(f"{path}, row {number} {what}")
    if row is not None:
      rows.append((f"{path}, row {number}", row))
  return rows


def _completion(row: dict[str, Any], where: str) -> str:
  text = row.get("completion", row.get("output"))
  if isinstance(text, list) and len(text) == 1 and isinstance(text[0], dict):
    turn = text[0]
    if turn.get("role") == "assistant":
      text = turn.get("content")
  if not isinstance(text, str):
    raise UserError(
      f"{where} has no 'completion' that is text or one message, "
      '[{"role": "assistant", "content": ...}], nor AlpacaEval\'s \'output\''
    )
  return _whole(text, "completion", where)


def _whole(text: str, column: str, where: str) -> str:
  """A text that tokenizers and files take.

  Raises:
    UserError: for half of a surrogate pair, which neither does.
  """
  try:
    return faults.text(text)
  except Fault as fault:
    raise UserError(f"{where}, column {column!r}: {fault}") from None


def _prompt(row: dict[str, Any], where: str) -> Prompt:
  prompt = row.get("prompt", row.get("instruction"))
  if isinstance(prompt, str):
    return _whole(prompt, "prompt", where)
  if isinstance(prompt, Sequence) and prompt:
    turns: list[tuple[Any, Any]] = [
      (turn.get("role"), turn.get("content"))
      for turn in prompt
      if isinstance(turn, dict)
    ]
    texts = [isinstance(x, str) for turn in turns for x in turn]
    if len(turns) == len(prompt) and all(texts):
      return tuple(
        (role, _whole(content, "prompt", where)) for role, content in turns
      )
  raise UserError(
    f"{where} has no 'prompt' that is text or a list of role and content, nor "
    "AlpacaEval's 'instruction'"
  )
