"""Rows of tokens: every distinct sequence once, padded when batched.

Above 300 lines, since the columns of `TokenRows` are filled and described here.
"""

import array
import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from offalign.data.batches import (
  equal_tokens,
  logged_tokens,
  token_cache,
  token_marks,
)
from offalign.data.reading.records import Prompt, count
from offalign.data.text.layout import Encoded, Unencodable
from offalign.data.text.ragged import Ragged, describe
from offalign.data.text.tokenizer import Tokenizer
from offalign.data.views.view import View
from offalign.errors import UserError, marked, option
from offalign.types import Kind

_NAMED = 5  # sources of vanished completions that a message names


@dataclasses.dataclass(frozen=True)
class TokenRows:
  """N rows of a prompt and K completions, as tokens.

  Attributes:
    kind: what the K completions are to a loss.
    prompts: distinct prompts.
    completions: distinct (prompt, completion) sequences, U of them; the
      tokens are the completion's.
    completion_prompt: int [U], the prompt of each.
    prompt_index: int [N].
    completion_index: int [N, K].
    weight: float32 [N].
    sources: N x K, each "file:row".
    pad_id: of the tokenizer.
    prompt_length: P that batches are padded to; may be raised.
    completion_length: T that batches are padded to; may be raised.
    rewards: float32 [N, K] or None.
    labels: bool [N, K] or None.
    ref_logps: float32 [N, K] or None; see `unique`.
    behaviour_logps: float32 [N, K] or None, as logged.
    behaviour_token_logps: float32, of each token of N * K completions, as
      logged; or None. Row n has those that `behaviour_index` names.
    behaviour_index: int [N, K] or None.
    margins: float32 [N] or None; see `Scores.margins`.
    ref_prefix_logps: float32 [N, K] or None; see
      `offalign.reference.other_sequences`.
    ref_token_logps: float32, of each token of the U sequences under the
      reference; or None.
    token_weights: float32, of each token of N * K completions: how much it
      counts; or None. Row n has those that `mark_index` names.
    token_rewards: float32, likewise the rewards of parts, each on the last
      token of its part; or None.
    mark_index: int [N, K] or None.
    summary: lengths and cuts, in sentences; where rows were dropped, the
      last says so.
    lost_prompts: uint8, `round_trip.Lost` flags of each of `prompts`.
    lost_completions: uint8, those of each of `completions`.
    prompt_digests: uint64, a hash of the tokens of each of `prompts`; see
      `equal_tokens.digests`.
    completion_digests: uint64, of each of `completions` with its prompt.
    longest_completion: tokens of the longest completion before any cut.
    cut_prompts: distinct prompts that were cut.
    cut_completions: distinct completions that were cut.
  """

  kind: Kind
  prompts: Ragged
  completions: Ragged
  completion_prompt: np.ndarray
  prompt_index: np.ndarray
  completion_index: np.ndarray
  weight: np.ndarray
  sources: tuple[tuple[str, ...], ...]
  pad_id: int
  prompt_length: int
  completion_length: int
  rewards: np.ndarray | None = None
  labels: np.ndarray | None = None
  ref_logps: np.ndarray | None = None
  behaviour_logps: np.ndarray | None = None
  behaviour_token_logps: Ragged | None = None
  behaviour_index: np.ndarray | None = None
  margins: np.ndarray | None = None
  ref_prefix_logps: np.ndarray | None = None
  ref_token_logps: Ragged | None = None
  token_weights: Ragged | None = None
  token_rewards: Ragged | None = None
  mark_index: np.ndarray | None = None
  summary: tuple[str, ...] = ()
  lost_prompts: np.ndarray | None = None
  lost_completions: np.ndarray | None = None
  prompt_digests: np.ndarray | None = None
  completion_digests: np.ndarray | None = None
  longest_completion: int = 0
  cut_prompts: int = 0
  cut_completions: int = 0

  def __len__(self) -> int:
    return len(self.prompt_index)

  def take(self, indices: np.ndarray) -> "TokenRows":
    """The rows at `indices`, int [M]; the sequences stay all of them."""

    def at(column: np.ndarray | None) -> np.ndarray | None:
      return None if column is None else column[indices]

    return dataclasses.replace(
      self,
      prompt_index=self.prompt_index[indices],
      completion_index=self.completion_index[indices],
      weight=self.weight[indices],
      sources=tuple(self.sources[i] for i in indices) if self.sources else (),
      rewards=at(self.rewards),
      labels=at(self.labels),
      ref_logps=at(self.ref_logps),
      behaviour_logps=at(self.behaviour_logps),
      behaviour_index=at(self.behaviour_index),
      mark_index=at(self.mark_index),
      margins=at(self.margins),
      ref_prefix_logps=at(self.ref_prefix_logps),
    )

  def unique(self) -> "TokenRows":
    """Each distinct sequence as a row of its own (K = 1), without feedback.

    What is computed for them, [U], is spread over the rows by
    `values[rows.completion_index]`, [N, K].
    """
    each = np.arange(len(self.completions))
    return dataclasses.replace(
      self,
      kind=Kind.SINGLE,
      prompt_index=self.completion_prompt,
      completion_index=each[:, None],
      weight=np.ones(len(each), np.float32),
      sources=(),
      rewards=None,
      labels=None,
      ref_logps=None,
      behaviour_logps=None,
      behaviour_token_logps=None,
      behaviour_index=None,
      margins=None,
      ref_prefix_logps=None,
      ref_token_logps=None,
      token_weights=None,
      token_rewards=None,
      mark_index=None,
    )

  def count_tokens(self, indices: np.ndarray) -> int:
    """Counts the tokens of rows; a prompt counts once for its completions."""
    prompts = self.prompts.lengths[self.prompt_index[indices]]
    completions = self.completions.lengths[self.completion_index[indices]]
    return int(prompts.sum() + completions.sum())

  def keys(self) -> list[str]:
    """Hashes the tokens of each distinct sequence: U times 32 hex digits.

    Two sequences with equal keys have the same prompt and completion tokens,
    and so the same log-prob under the same weights, in whatever row, file or
    truncation they appear.
    """
    keys = []
    for u, q in enumerate(self.completion_prompt):
      prompt = self.prompts[q]
      head = len(prompt).to_bytes(8, "little")
      body = prompt.tobytes() + self.completions[u].tobytes()
      keys.append(hashlib.sha256(head + body).hexdigest()[:32])
    self.prompts.release()
    self.completions.release()
    return keys


def tokenize(
  view: View,
  tokenizer: Tokenizer,
  *,
  max_prompt: int | None = None,
  max_completion: int | None = None,
  vanished: Literal["error", "drop"] = "error",
  cache: Path | None = None,
  spool: Path | None = None,
) -> TokenRows:
  """Tokenises the rows of a view; each distinct text once.

  Args:
    view: the rows.
    tokenizer: see `tokenizer.make`.
    max_prompt: keeps the last tokens of longer prompts; None = all.
    max_completion: keeps the first tokens of longer completions, which then
      have no EOS; None = all.
    vanished: what to do about rows with a completion of which no token is
      left: the tokenizer makes none of its text, or the limit leaves room
      for none. "drop" drops and counts them.
    cache: a folder to keep tokens in, and to find them; None for none.
    spool: a folder, on whose disk tokens lie that are too many for memory,
      in a file without a name; None = all are in memory.

  Raises:
    UserError: where a prompt has no token, a limit leaves no room, the chat
      template refuses a conversation, or a completion has vanished.
  """
  prompts, sequences, prompt_index, completion_index = _listed_texts(view)
  try:
    found = token_cache.encode_rows(
      tokenizer,
      prompts,
      sequences,
      max_prompt=max_prompt,
      max_completion=max_completion,
      folder=cache,
      spool=spool,
    )
  except Unencodable as error:
    index = prompt_index if error.is_prompt else completion_index
    source = _source(view, index, error.index)
    others = dict.fromkeys(_source(view, index, i) for i in error.others)
    others.pop(source, None)
    likewise = f"; likewise {', '.join(others)}" if others else ""
    raise UserError(f"{source}: {marked(error)}{likewise}") from error
  x, y = found.prompts, found.completions
  for q in np.flatnonzero(x.lengths == 0)[:1]:
    raise UserError(
      f"{_source(view, prompt_index, int(q))}: the prompt has no token, and "
      "this tokenizer has no beginning-of-sequence token to stand for it; "
      "remove empty prompts"
    )
  of_prompt = np.array([q for q, _ in sequences], np.int64)
  texts = [text for _, text in sequences]
  as_logged = logged_tokens.check(
    texts, tokenizer, lambda i: _source(view, completion_index, i)
  )
  del texts
  del prompts, sequences
  digests = equal_tokens.digests(x, y, of_prompt)
  rewards = [row.rewards for row in view.rows]
  labels = [row.labels for row in view.rows]
  logged = [row.behaviour_logps for row in view.rows]
  gaps = [row.gap for row in view.rows]
  cut = found.cut_prompts + found.cut_completions
  if logged[0] is not None and cut:
    raise UserError(
      "behaviour_logps are of whole prompts and completions, but max_prompt "
      f"or max_completion cuts {cut} of them; raise the limits"
    )
  token_logps, token_index = logged_tokens.log_probs(view)
  parts = token_marks.place(view, y, completion_index, tokenizer)
  rows = TokenRows(
    kind=view.kind,
    prompts=x,
    completions=y,
    completion_prompt=of_prompt,
    prompt_index=prompt_index,
    completion_index=completion_index,
    weight=np.ones(len(view.rows), np.float32),
    sources=tuple(row.sources for row in view.rows),
    pad_id=tokenizer.pad_id,
    prompt_length=int(x.lengths.max()),
    completion_length=int(y.lengths.max()),
    rewards=None if rewards[0] is None else np.array(rewards, np.float32),
    labels=None if labels[0] is None else np.array(labels, bool),
    behaviour_logps=None if logged[0] is None else np.array(logged, np.float32),
    behaviour_token_logps=token_logps,
    behaviour_index=token_index,
    token_weights=parts.weights,
    token_rewards=parts.rewards,
    mark_index=parts.index,
    margins=None if gaps[0] is None else np.array(gaps, np.float32),
    summary=(
      *describe(
        "prompt", x, digests[0], found.cut_prompts, f"last {max_prompt}"
      ),
      *describe(
        "completion",
        y,
        digests[1],
        found.cut_completions,
        f"first {max_completion}",
        found.longest_completion,
      ),
      *found.sentences,
      *as_logged,
      *parts.sentences,
    ),
    lost_prompts=found.lost_prompts,
    lost_completions=found.lost_completions,
    prompt_digests=digests[0],
    completion_digests=digests[1],
    longest_completion=found.longest_completion,
    cut_prompts=found.cut_prompts,
    cut_completions=found.cut_completions,
  )
  rows = _without_vanished(rows, found, vanished)
  unseen, said = token_marks.unseen(
    rows.token_weights, rows.mark_index, rows.sources
  )
  if not said:
    return rows
  kept = rows.take(np.flatnonzero(~unseen))
  return dataclasses.replace(kept, summary=(*rows.summary, said))


def _source(view: View, index: np.ndarray, wanted: int) -> str:
  """The "file:row" of the first row, and completion, at `wanted`.

  Args:
    view: the rows.
    index: int [N] of prompts, or [N, K] of sequences.
    wanted: a prompt, or a sequence.
  """
  row, *place = np.argwhere(index == wanted)[0]
  return view.rows[row].sources[place[0] if place else 0]


def _without_vanished(
  rows: TokenRows, found: Encoded, choice: Literal["error", "drop"]
) -> TokenRows:
  """Refuses or drops rows with a completion of which nothing is left."""
  gone = np.isin(rows.completion_index, found.vanished)
  hit = gone.any(axis=1)
  if not hit.any():
    return rows
  sources = [rows.sources[n][k] for n, k in np.argwhere(gone)]
  named = ", ".join(dict.fromkeys(sources[:_NAMED]))
  more = ", ..." if len(sources) > _NAMED else ""
  what = (
    f"{count(int(hit.sum()), 'row')} with a completion of whose text no token "
    f"is left ({named}{more})"
  )
  if choice == "error":
    raise UserError(
      f"{what}: the tokenizer makes none of it, or {option('max_completion')} "
      "leaves room for none; raise that, or drop such rows "
      f"({option('vanished', 'drop')})"
    )
  if hit.all():
    raise UserError(f"{what}, and no other row remains")
  kept = rows.take(np.flatnonzero(~hit))
  summary = (*rows.summary, f"{what}: dropped")
  return dataclasses.replace(kept, summary=summary)


def distinct_texts(
  view: View,
) -> tuple[
  dict[Prompt, int], dict[tuple[int, str], int], np.ndarray, np.ndarray
]:
  """Numbers the distinct prompts and (prompt, completion) sequences.

  Args:
    view: the rows.

  Returns:
    Both numberings, and where the rows find theirs: [N] and [N, K].
  """
  prompts: dict[Prompt, int] = {}
  sequences: dict[tuple[int, str], int] = {}
  prompt_index, completion_index = array.array("q"), array.array("q")
  for row in view.rows:
    q = prompts.setdefault(row.prompt, len(prompts))
    prompt_index.append(q)
    completion_index.extend(
      sequences.setdefault((q, y), len(sequences)) for y in row.completions
    )
  n = len(view.rows)
  return (
    prompts,
    sequences,
    np.array(prompt_index, np.int64),
    np.array(completion_index, np.int64).reshape(n, -1),
  )


def _listed_texts(
  view: View,
) -> tuple[list[Prompt], list[tuple[int, str]], np.ndarray, np.ndarray]:
  """`distinct_texts` in lists, without the numbers that fill much memory."""
  prompts, sequences, *indices = distinct_texts(view)
  prompt_index, completion_index = indices
  return list(prompts), list(sequences), prompt_index, completion_index
