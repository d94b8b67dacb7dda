"""Logged tokens as rows: whether they fit their texts, and their log-probs."""

from collections.abc import Callable, Sequence

import numpy as np

from offalign.data.reading.records import count, quote
from offalign.data.reading.token_text import TokenText
from offalign.data.text.ragged import Ragged
from offalign.data.text.tokenizer import Tokenizer
from offalign.data.views.view import View
from offalign.errors import UserError

_LOOKED_AT = 2_000  # completions whose ids are decoded


def check(
  texts: Sequence[str], tokenizer: Tokenizer, source: Callable[[int], str]
) -> list[str]:
  """Says what the logged tokens are, and whether they are of their texts.

  Args:
    texts: distinct completions, with tokens or without.
    tokenizer: of the run.
    source: where the i-th is from.

  Returns:
    Sentences; [] where none has tokens.

  Raises:
    UserError: where most decode to other texts, as those of another tokenizer
      do.
  """
  logged = [i for i, text in enumerate(texts) if isinstance(text, TokenText)]
  if not logged:
    return []
  ends = set(tokenizer.end_ids)
  ended = other = 0
  for i in logged:
    ended += int(texts[i].ids[-1]) in ends  # type: ignore[attr-defined]
  looked = logged[:: -(-len(logged) // _LOOKED_AT)]
  first = ""
  for i in looked:
    text = texts[i]
    assert isinstance(text, TokenText)
    if type(text.text) is not str:
      continue  # has more than text, which no decoding gives
    decoded = tokenizer.decode(text.ids)
    if decoded.strip() != text.strip():
      other += 1
      first = first or (
        f"{source(i)}: its ids decode to {quote(decoded)}, and its text is "
        f"{quote(str(text))}"
      )
  if 2 * other > len(looked):
    raise UserError(
      f"the logged token ids of {other:,} of {count(len(looked), 'completion')}"
      f" are of other texts ({first}): give the tokenizer of the model that "
      "wrote them, or take the columns of tokens out"
    )
  said = [
    f"{count(len(logged), 'distinct completion')} by the token ids that were "
    f"logged, not by their texts; {ended:,} of them end with an end token"
  ]
  if other:
    said.append(
      f"note: the logged token ids of {other:,} of "
      f"{count(len(looked), 'completion')} decode to other texts, as where an "
      f"engine strips them ({first}); the ids are used"
    )
  return said


def log_probs(view: View) -> tuple[Ragged | None, np.ndarray | None]:
  """The log-probs of the tokens of a view's completions, as logged.

  Args:
    view: the rows.

  Returns:
    float32 ragged, and where rows find theirs, int64 [N, K]; None and None
    where the rows keep no log-probs, or not those of each token.
  """
  if any(row.behaviour_logps is None for row in view.rows):
    return None, None
  found: list[np.ndarray] = []
  for row in view.rows:
    for text in row.completions:
      if not isinstance(text, TokenText) or text.logps is None:
        return None, None
      found.append(text.logps)
  index = np.arange(len(found), dtype=np.int64).reshape(len(view.rows), -1)
  return Ragged.of(found, np.float32), index
