"""The layout of conversations by a chat template.

  prompt:      what the template writes for the messages, and before the
               assistant's turn (add_generation_prompt)
  completion:  what it writes after that for the assistant's turn, up to and
               including the token that ends the turn, just once

The template alone decides about BOS. Special tokens in the template's text
are tokens; in a message they are ordinary text, as with `transformers`'
sanitize_control_tokens. Added tokens that are not special, such as <think>,
are tokens in both.

Where a whole conversation does not begin with its prompt, in text or in
tokens, the completion is tokenised apart and follows the prompt as it is.
"""

import re
from collections.abc import Sequence

import numpy as np
import tokenizers

from offalign.data.reading.records import Message, Prompt
from offalign.data.text import round_trip, special_tokens
from offalign.data.text.boundary import Boundaries, Followed, Laid, Turn
from offalign.data.text.chat_template import ChatTemplate
from offalign.data.text.special_tokens import Plain
from offalign.errors import UserError

# Around the special tokens that a message spells; Unicode keeps these two
# from being characters, so that programs can use them.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"

_REPLY = "offalign"
_PROBES = (
  (Message("user", "x"), Message("assistant", _REPLY)),
  (Message("system", "x"), Message("user", "x"), Message("assistant", _REPLY)),
)


def probe(template: ChatTemplate) -> str:
  """What a template writes for a short conversation today; "" if nothing."""
  for turns in _PROBES:
    try:
      return template.render(turns, add_generation_prompt=False)
    except UserError:
      continue  # what is wrong will be said of the user's conversations
  return ""


def find_end(
  backend: tokenizers.Tokenizer, template: ChatTemplate
) -> int | None:
  """The added token that a template writes after a reply, or None."""
  after = probe(template).rpartition(_REPLY)[2]
  added = backend.get_added_tokens_decoder()
  for token in special_tokens.inside(backend, after):
    if token in added and not added[token].content.isspace():
      return token
  return None


class Conversations:
  """Encodes conversations by a template.

  Attributes:
    template: the template.
    end_id: the token that ends the assistant's turn.
  """

  def __init__(
    self,
    backend: tokenizers.Tokenizer,
    text: Plain,
    template: ChatTemplate,
    bos_id: int | None,
    end_id: int,
  ):
    """Joins what it needs.

    Args:
      backend: in which special tokens are tokens.
      text: the same tokenizer, in which they are text.
      template: of the conversations.
      bos_id: survives a cut where the template writes it first.
      end_id: ends the assistant's turn; see `find_end`.
    """
    self._backend = backend
    self._text = text
    self.template = template
    self.end_id = end_id
    self._bos_id = bos_id
    self._marked = re.compile(
      f"{_OPEN}({text.spelled.pattern}){_CLOSE}|[{_OPEN}{_CLOSE}]"
    )

  def lay(self, prompts: Sequence[Prompt]) -> list[Laid]:
    """Conversations as tokens, up to where the assistant's turn begins."""
    texts = [self._render(prompt, True) for prompt in prompts]
    none = np.zeros(0, np.int32)
    laid = []
    for prompt, text, ids in zip(
      prompts, texts, self._encode(texts), strict=True
    ):
      n = int(len(ids) > 0 and ids[0] == self._bos_id)
      laid.append(Laid(prompt, ids[:n], ids[n:], none, text))
    return laid

  def follow(self, turns: Sequence[Turn], found: Boundaries) -> list[Followed]:
    """The assistant's turns, each with the one token that ends it.

    Args:
      turns: what `lay` made, and replies.
      found: counts.
    """
    wholes = [
      self._render((*at.prompt, Message("assistant", reply)), False)
      for at, reply in turns
    ]
    rows = zip(turns, wholes, self._encode(wholes), strict=True)
    return [self._turn(*row, found) for row in rows]

  def _turn(
    self, turn: Turn, whole: str, tokens: np.ndarray, found: Boundaries
  ) -> Followed:
    at, reply = turn
    assert at.text is not None
    content = self._mark(reply)
    if not whole.startswith(at.text):
      found.checked += 1
      found.template += 1
      found.lost.append(0)
      return self._ended(self._pieces(content, first=False)), 0
    added = whole[len(at.text) :]
    found.lost.append(round_trip.lost_reply(reply, added))
    after = found.after(np.concatenate([at.before, at.body]), tokens)
    if after is None:
      ids = self._ended(self._pieces(added, first=False))
    else:
      ids = self._ended(after.tolist())
    if reply.strip():
      header = added[: max(added.find(content.strip()), 0)]
      known = len(self._pieces(header, first=False)) if header.strip() else 0
    else:
      nothing = (*at.prompt, Message("assistant", ""))
      known = len(ids) - 1 if whole == self._render(nothing, False) else 0
    return ids, known

  def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of what the template wrote, int32."""
    encoded = special_tokens.batch(self._backend, texts)
    for i, text in enumerate(texts):
      if _OPEN in text or _CLOSE in text:
        encoded[i] = np.array(self._pieces(text), np.int32)
    return encoded

  def _ended(self, ids: list[int]) -> np.ndarray:
    """The ids up to the first that ends a turn, which is added if absent."""
    length = ids.index(self.end_id) if self.end_id in ids else len(ids)
    return np.array([*ids[:length], self.end_id], np.int32)

  def _render(self, messages: Prompt, generation: bool) -> str:
    assert not isinstance(messages, str)
    marked = [Message(m.role, self._mark(m.content)) for m in messages]
    return self.template.render(marked, add_generation_prompt=generation)

  def _mark(self, content: str) -> str:
    if _OPEN in content or _CLOSE in content:
      raise UserError(
        "a message holds U+FDD0 or U+FDD1, which are no characters and stand "
        "for something else here; remove them"
      )
    return self._text.spelled.sub(f"{_OPEN}\\g<0>{_CLOSE}", content)

  def _pieces(self, text: str, first: bool = True) -> list[int]:
    """Tokens of what a template wrote, marks and all.

    Marked spellings are ordinary text. A template may have parted two marks;
    a lone one still keeps what is around it from becoming a token.

    Args:
      text: what it wrote.
      first: whether no other text comes before.
    """
    start, *parts = self._marked.split(text)
    ids = []
    if first:
      ids = self._backend.encode(start, add_special_tokens=False).ids
    elif start:
      ids = special_tokens.inside(self._backend, start)
    for spelled, rest in zip(parts[::2], parts[1::2], strict=True):
      ids += self._text.inside(spelled) if spelled else []
      ids += special_tokens.inside(self._backend, rest) if rest else []
    return ids
