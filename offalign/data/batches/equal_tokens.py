"""Find rows that differ as text and are equal as tokens.

A chat template that drops text, a tokenizer that normalises it, or a limit
makes two completions one. What a loss is to learn from their difference is
then nothing, or a contradiction. Training and the audit count it alike here,
from hashes of texts and tokens.
"""

import hashlib

import numpy as np

from offalign.data.text.ragged import Ragged

LISTED = 10
"""How many rows are named; the rest are counted."""
EXAMPLES = 10_000
"""How many sequences are kept as examples of what became equal, at most."""

SEQUENCE = np.dtype(
  [
    ("row", "i8"),  # any number that says where it is
    ("side", "u4"),  # its place in the row; of a pair 0 = chosen
    ("prompt", "u8"),  # hashes of the prompt's tokens as they are trained on,
    ("tokens", "u8"),  # of those of prompt and completion,
    ("text", "u8"),  # and of the texts of both
    ("value", "f8"),  # reward or label; NaN = none
  ]
)
"""One completion of a row, as the pass reads it."""


def digest(*parts: bytes) -> int:
  """Hashes parts to 64 bits; where one part ends matters."""
  content = hashlib.blake2b(digest_size=8)
  for part in parts:
    content.update(len(part).to_bytes(8, "little"))
    content.update(part)
  return int.from_bytes(content.digest(), "little")


def digest_both(prompt: np.ndarray, completion: np.ndarray) -> tuple[int, int]:
  """Hashes the tokens of a prompt, and of it with a completion."""
  head = digest(prompt.tobytes())
  return head, digest(head.to_bytes(8, "little"), completion.tobytes())


def digests(
  prompts: Ragged, completions: Ragged, completion_prompt: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Hashes the tokens of prompts, and of prompts with completions.

  Args:
    prompts: Q of them.
    completions: U of them.
    completion_prompt: int [U], the prompt of each.

  Returns:
    uint64 [Q] and [U].
  """
  of_prompts = np.fromiter(
    (digest(tokens.tobytes()) for tokens in prompts), np.uint64, len(prompts)
  )
  prompts.release()
  of_sequences = np.fromiter(
    (
      digest(int(of_prompts[q]).to_bytes(8, "little"), tokens.tobytes())
      for q, tokens in zip(completion_prompt, completions, strict=True)
    ),
    np.uint64,
    len(completions),
  )
  completions.release()
  return of_prompts, of_sequences


class EqualTokens:
  """Counts completions of different text whose tokens are the same.

  Attributes:
    ranked: whether rows are pairs, completion 0 the better one.
    prompts: distinct prompts, by tokens.
    rows: rows with completions of different text.
    alike: those of them with fewer distinct completions by tokens than by
      text.
    single: those of them of which one token sequence is left.
    apart: rows with completions of different tokens.
    sequences: distinct token sequences that have feedback; of pairs, distinct
      comparisons of them.
    contrary: those of them that texts which differ have with different
      feedback; of pairs, those that are made both ways.
    alike_rows: the first rows that are alike.
    contrary_rows: the first two rows of contrary sequences, the first ones.
  """

  def __init__(self, ranked: bool):
    """Counts nothing yet."""
    self.ranked = ranked
    self.prompts = self.rows = self.alike = self.single = self.apart = 0
    self.sequences = self.contrary = 0
    self.alike_rows: list[int] = []
    self.contrary_rows: list[tuple[int, int]] = []
    self._alike: list[list[tuple[int, int]]] = []
    self._contrary: list[list[tuple[int, int]]] = []
    self._room = {"alike": EXAMPLES, "contrary": EXAMPLES}
    self._told = False  # whether feedback tells some completion from another

  @property
  def is_nothing_left(self) -> bool:
    """Whether equal tokens have left nothing to learn from.

    No row has two completions that differ; or every token sequence has
    feedback that contradicts itself, with the same mean as all others of its
    prompt.
    """
    if self.alike and not self.apart:
      return True
    return bool(self.contrary) and not self.ranked and not self._told

  def examples(self, what: str) -> list[list[tuple[int, int]]]:
    """(row, side) of sequences that became equal, a list for each.

    Args:
      what: "alike" for those within a row, "contrary" for those of contrary
        feedback.
    """
    return self._alike if what == "alike" else self._contrary

  def has_more(self, what: str) -> bool:
    """Whether there may be more examples than were kept; see `examples`."""
    return self._room[what] < 2

  def add(self, part: np.ndarray) -> None:
    """Adds `SEQUENCE` rows: all completions of some prompts, by tokens."""
    if not len(part):
      return
    self.prompts += len(np.unique(part["prompt"]))
    self._add_rows(part)
    if self.ranked:
      self._add_comparisons(part)
    else:
      self._add_feedback(part[~np.isnan(part["value"])])

  def _add_rows(self, part: np.ndarray) -> None:
    rows, texts = _distinct(part["row"], part["text"])
    _, tokens = _distinct(part["row"], part["tokens"])
    self.rows += int((texts > 1).sum())
    self.apart += int((tokens > 1).sum())
    alike = rows[tokens < texts]
    self.alike += len(alike)
    self.single += int(((tokens < texts) & (tokens == 1)).sum())
    self.alike_rows = sorted([*self.alike_rows, *_least(alike)])[:LISTED]
    met = part[np.isin(part["row"], alike)]
    self._keep("alike", met, met["row"])

  def _add_feedback(self, part: np.ndarray) -> None:
    """Finds token sequences whose texts have different feedback."""
    if not len(part):
      return
    part = part[np.lexsort((part["side"], part["row"], part["tokens"]))]
    starts, sizes = _runs(part["tokens"])
    values = part["value"]
    low, high = (f.reduceat(values, starts) for f in (np.minimum, np.maximum))
    _, texts = _distinct(part["tokens"], part["text"])
    contrary = (texts > 1) & (low < high)
    self.sequences += len(starts)
    self.contrary += int(contrary.sum())
    self._tell(part, starts, sizes, contrary)
    inside = np.repeat(contrary, sizes)
    self._note(
      part["row"], part["text"], values, starts[contrary], sizes[contrary]
    )
    self._keep("contrary", part[inside])

  def _tell(
    self,
    part: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    contrary: np.ndarray,
  ) -> None:
    """Notes whether feedback is left that tells completions apart."""
    if self._told or not contrary.all():
      self._told = True
      return
    means = np.add.reduceat(part["value"], starts) / sizes
    order = np.lexsort((means, part["prompt"][starts]))
    means, prompts = means[order], part["prompt"][starts][order]
    same = prompts[1:] == prompts[:-1]
    scale = np.maximum(np.abs(means[1:]), np.abs(means[:-1]))
    self._told = bool((same & (np.diff(means) > 1e-9 * scale)).any())

  def _add_comparisons(self, part: np.ndarray) -> None:
    """Finds pairs that another has the other way round, by tokens alone."""
    part = part[np.lexsort((part["side"], part["row"]))]
    one, other = part[part["side"] == 0], part[part["side"] == 1]
    apart = one["tokens"] != other["tokens"]
    one, other = one[apart], other[apart]
    if not len(one):
      return
    a, b = one["tokens"], other["tokens"]
    low, high, side = np.minimum(a, b), np.maximum(a, b), a > b
    texts = np.minimum(one["text"], other["text"]) * np.uint64(3)
    texts += np.maximum(one["text"], other["text"])
    order = np.lexsort((one["row"], high, low))
    starts, sizes = _runs(low[order], high[order])
    which = np.repeat(np.arange(len(starts)), sizes)
    _, differing = _distinct(which, texts[order])
    _, ways = _distinct(which, side[order])
    contrary = (differing > 1) & (ways > 1)
    self.sequences += len(starts)
    self.contrary += int(contrary.sum())
    rows = one["row"][order]
    self._note(
      rows, texts[order], side[order], starts[contrary], sizes[contrary]
    )
    inside = np.isin(part["row"], rows[np.repeat(contrary, sizes)])
    self._keep("contrary", part[inside])

  def _note(
    self,
    rows: np.ndarray,
    texts: np.ndarray,
    feedback: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
  ) -> None:
    """Remembers two rows of each run whose texts and feedback differ."""
    for i in np.argsort(rows[starts], kind="stable")[:LISTED]:
      run = slice(starts[i], starts[i] + sizes[i])
      row, text, said = rows[run], texts[run], feedback[run]
      one = 0
      unlike = (said != said[0]) & (text != text[0])
      if not unlike.any():
        # Then the first text has both, and another what the first row says.
        one = int(np.argmax(said != said[0]))
        unlike = (said != said[one]) & (text != text[one])
      both = sorted((int(row[one]), int(row[np.argmax(unlike)])))
      self.contrary_rows.append((both[0], both[1]))
    self.contrary_rows = sorted(self.contrary_rows)[:LISTED]

  def _keep(
    self, what: str, part: np.ndarray, apart: np.ndarray | None = None
  ) -> None:
    """Keeps examples: of equal tokens, the first entry of each text.

    Args:
      what: see `examples`.
      part: of the rows concerned.
      apart: [N]; only entries for which it is the same are compared.
    """
    if not self._room[what] or not len(part):
      return
    if apart is None:
      apart = np.zeros(len(part), np.int64)
    keys = (part["side"], part["row"], part["text"], part["tokens"], apart)
    order = np.lexsort(keys)
    part, apart = part[order], apart[order]
    firsts = _runs(apart, part["tokens"], part["text"])[0]
    part, apart = part[firsts], apart[firsts]
    for start, size in zip(*_runs(apart, part["tokens"]), strict=True):
      members = part[start : start + min(size, self._room[what])]
      if len(members) < 2:
        continue
      self._room[what] -= len(members)
      self.examples(what).append(
        [(int(m["row"]), int(m["side"])) for m in members]
      )


def _distinct(
  owner: np.ndarray, key: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The distinct owners, sorted, and how many distinct keys each has."""
  order = np.lexsort((key, owner))
  firsts = _runs(owner[order], key[order])[0]
  return np.unique(owner[order][firsts], return_counts=True)


def _runs(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The first of each run of equal neighbours, and the runs' lengths."""
  new = np.zeros(len(keys[0]), bool)
  new[:1] = True
  for key in keys:
    new[1:] |= key[1:] != key[:-1]
  starts = np.flatnonzero(new)
  return starts, np.diff(np.append(starts, len(new)))


def _least(rows: np.ndarray) -> list[int]:
  return [int(row) for row in np.sort(rows)[:LISTED]]
