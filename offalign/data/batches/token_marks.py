"""Weights and rewards of tokens, from spans of characters or as logged."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from offalign.data.reading.marks import Marks, Span, content_of
from offalign.data.reading.records import count, quote
from offalign.data.reading.token_text import TokenText
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text import token_offsets
from offalign.data.text.ragged import Ragged
from offalign.data.text.tokenizer import Tokenizer
from offalign.data.views.view import View
from offalign.errors import UserError

_NAMED = 5  # sources of dropped rows that a sentence names


@dataclasses.dataclass(frozen=True)
class Marked:
  """Weights and rewards of the tokens of a view's completions.

  Attributes:
    weights: float32, of N * K completions; None where the loss reads neither.
    rewards: likewise.
    index: int64 [N, K], where rows find theirs.
    sentences: what a limit of length cut off.
  """

  weights: Ragged | None = None
  rewards: Ragged | None = None
  index: np.ndarray | None = None
  sentences: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Placed:
  """The tokens of a completion, and which characters each has.

  Attributes:
    text: of the completion.
    places: int [T, 2], in the text; empty for tokens outside it.
    end: the character behind the last that a token has.
    cut: whether the completion goes on behind its tokens.
  """

  text: str
  places: np.ndarray
  end: int
  cut: bool


def place(
  view: View,
  completions: Ragged,
  completion_index: np.ndarray,
  tokenizer: Tokenizer,
) -> Marked:
  """Gives every token of a view's completions its weight and its reward.

  A token that lies in several spans, or partly in one, has the mean of the
  weights of its characters, white space not counted. The reward of a span is
  on its last token, so that rewards of tokens add up to those of their spans.
  The token that ends a completion goes with its last character.

  Args:
    view: the rows.
    completions: the distinct sequences, cut to size.
    completion_index: int [N, K], which of them the rows have.
    tokenizer: made the tokens.

  Raises:
    UserError: where the tokens do not spell the text that spans are of.
  """
  if view.rows[0].marks is None:
    return Marked()
  placed: dict[int, _Placed] = {}
  weights: list[np.ndarray] = []
  rewards: list[np.ndarray] = []
  spans = lists = 0
  for n, row in enumerate(view.rows):
    assert row.marks is not None
    for k, mark in enumerate(row.marks):
      u = int(completion_index[n, k])
      ids, text = completions[u], row.completions[k]
      own = np.full(len(ids), mark.outside, np.float32)
      paid = np.zeros(len(ids), np.float32)
      if mark.spans:
        if u not in placed:
          placed[u] = _placed(text, ids, tokenizer, row.sources[k])
        spans += _spread(mark, placed[u], own, paid)
      else:
        lists += _listed(mark, own, paid)
      weights.append(own)
      rewards.append(paid)
  said = []
  if spans:
    said.append(
      f"warning: {count(spans, 'span')} cut off with the end of completions, "
      f"and with them their rewards; raise max_completion"
    )
  if lists:
    said.append(
      f"warning: the numbers of {count(lists, 'completion')} by token cut off "
      f"with their tokens; raise max_completion"
    )
  index = np.arange(len(weights), dtype=np.int64).reshape(len(view.rows), -1)
  return Marked(
    Ragged.of(weights, np.float32),
    Ragged.of(rewards, np.float32),
    index,
    tuple(said),
  )


def _placed(
  text: str, ids: np.ndarray, tokenizer: Tokenizer, source: str
) -> _Placed:
  whole = text.text if isinstance(text, TokenText) else text
  said, places = token_offsets.spelled(ids.tolist(), tokenizer.decode)
  cut = int(ids[-1]) not in tokenizer.end_ids
  own = content_of(text)
  start = token_offsets.find(
    own, said, cut=cut, once=isinstance(whole, WholeMessage)
  )
  if start is None:
    raise UserError(
      f"{source}: the tokens of the completion spell {quote(said)}, and its "
      f"text is {quote(own)}, so that its spans cannot be found in them; give "
      "'token_weights' or 'token_rewards' beside 'completion_ids', or write "
      "the text as the tokenizer does"
    )
  places = np.clip(places - start, 0, len(own))
  return _Placed(own, places, int(places.max()), cut)


def _spread(
  mark: Marks, at: _Placed, weights: np.ndarray, rewards: np.ndarray
) -> int:
  """Fills in what the spans say; returns how many were cut off."""
  each = np.full(len(at.text), mark.outside)
  for span in mark.spans:
    if span.weight is not None:
      each[span.start : span.end] = span.weight
  inked = np.array([not c.isspace() for c in at.text])
  last = np.flatnonzero(at.places[:, 1] > at.places[:, 0])[-1]
  for t, (start, end) in enumerate(at.places):
    if start == end:
      # Behind the text is its end; before it, what a template put there.
      if t > last and not at.cut:
        weights[t] = each[len(at.text.rstrip()) - 1]
      continue
    here = inked[start:end]
    held = each[start:end]
    weights[t] = held[here].mean() if here.any() else held.mean()
  lost = 0
  for span in mark.spans:
    own = _tokens(span, at)
    lost += at.cut and (span.end > at.end)
    if span.rated and len(own) and not (at.cut and span.end > at.end):
      rewards[own[-1]] += span.value
  return lost


def _tokens(span: Span, at: _Placed) -> np.ndarray:
  """The tokens with a character of a span; of stripped space, the nearest."""
  start, end = at.places.T
  own = np.flatnonzero((start < span.end) & (end > span.start) & (end > start))
  if len(own):
    return own
  return np.flatnonzero((end > start) & (start < span.end))[-1:]


def _listed(mark: Marks, weights: np.ndarray, rewards: np.ndarray) -> int:
  """Fills in what was logged by token; returns whether some is cut off."""
  cut = 0
  for values, out in ((mark.weights, weights), (mark.rewards, rewards)):
    if values is not None:
      out[:] = values[: len(out)]
      cut = max(cut, len(values) > len(out))
  return cut


def unseen(
  weights: Ragged | None,
  index: np.ndarray | None,
  sources: Sequence[Sequence[str]],
) -> tuple[np.ndarray, str]:
  """Which rows have no token that counts, bool [N], and a sentence on them.

  Args:
    weights: of the tokens of completions.
    index: int [N, K], where rows find theirs.
    sources: N x K.

  Raises:
    UserError: where no other row remains.
  """
  if weights is None or index is None:
    return np.zeros(len(sources), bool), ""
  empty = np.array([not x.any() for x in weights])[index].all(axis=1)
  named = ", ".join(
    dict.fromkeys(sources[n][0] for n in np.flatnonzero(empty)[:_NAMED])
  )
  more = ", ..." if empty.sum() > _NAMED else ""
  what = (
    f"{count(int(empty.sum()), 'row')} of which no token counts, since its "
    f"weights are 0 or lie behind max_completion ({named}{more})"
  )
  if empty.all():
    raise UserError(f"{what}, and no other row remains")
  return empty, f"warning: {what}: dropped" if empty.any() else ""
