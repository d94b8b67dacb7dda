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

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import tokenizers

from offalign.data import plain
from offalign.data.chat import ChatTemplate
from offalign.data.plain import Plain
from offalign.data.records import Message, count
from offalign.errors import UserError

Conversation = tuple[Message, ...]

# Around the special tokens that a message spells; Unicode keeps these two
# from being characters, so that programs can use them.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_PROBE = "offalign"


@dataclasses.dataclass
class Boundaries:
  """How many conversations did not begin with their prompt.

  Attributes:
    text: in text.
    tokens: in tokens alone.
  """

  text: int = 0
  tokens: int = 0

  def sentences(self) -> list[str]:
    """What was done about them."""
    after = "the completion was tokenised apart and put after the prompt"
    said = []
    if self.text:
      said.append(
        f"{count(self.text, 'completion')}: the chat template does not write "
        f"a conversation as its prompt and more; {after}"
      )
    if self.tokens:
      said.append(
        f"{count(self.tokens, 'completion')}: a token of the whole "
        f"conversation lies across the end of its prompt; {after}"
      )
    return said


class Conversations:
  """Encodes conversations by a template.

  Attributes:
    end_id: the token that ends the assistant's turn.
    dated: whether the template asks for the time, so that tokens may change
      from day to day.
    probe: how it writes a short conversation now.
  """

  def __init__(
    self,
    backend: tokenizers.Tokenizer,
    text: Plain,
    template: ChatTemplate,
    eos_id: int,
  ):
    """Joins what it needs.

    Args:
      backend: in which special tokens are tokens.
      text: the same tokenizer, in which they are text.
      template: of the conversations.
      eos_id: ends a turn where the template writes nothing that does.
    """
    self._backend = backend
    self._text = text
    self._template = template
    self._marked = re.compile(
      f"{_OPEN}({text.spelled.pattern}){_CLOSE}|[{_OPEN}{_CLOSE}]"
    )
    self.dated = "strftime_now" in template.source
    self.probe = self._write_probe()
    self.end_id = self._find_end(eos_id)

  def texts(self, conversations: Sequence[Conversation]) -> list[str]:
    """The prompts as the template writes them, for `encode`."""
    return [self._render(c, True) for c in conversations]

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of what the template wrote, int32."""
    encoded = plain.encode_all(self._backend, texts)
    for i, text in enumerate(texts):
      if _OPEN in text or _CLOSE in text:
        encoded[i] = np.array(self._pieces(text), np.int32)
    return encoded

  def completions(
    self,
    conversations: Sequence[Conversation],
    prompts: Sequence[tuple[str, np.ndarray]],
    replies: Sequence[str],
    found: Boundaries,
  ) -> list[tuple[np.ndarray, int]]:
    """The assistant's turn after each conversation.

    Args:
      conversations: one a reply.
      prompts: their texts and tokens.
      replies: what the assistant says.
      found: counts those that do not begin with their prompt.

    Returns:
      int32 tokens, with the one that ends the turn, and how many of them the
      template wrote before the content.
    """
    wholes = [
      self._render((*c, Message("assistant", reply)), False)
      for c, reply in zip(conversations, replies, strict=True)
    ]
    encoded = self.encode(wholes)
    rows = zip(prompts, replies, wholes, encoded, strict=True)
    return [self._completion(*row, found) for row in rows]

  def _completion(
    self,
    prompt: tuple[str, np.ndarray],
    reply: str,
    whole: str,
    tokens: np.ndarray,
    found: Boundaries,
  ) -> tuple[np.ndarray, int]:
    before, before_ids = prompt
    content = self._mark(reply)
    if not whole.startswith(before):
      found.text += 1
      return self._ended(self._pieces(content, first=False)), 0
    added = whole[len(before) :]
    start = added.find(content.strip())
    header = added[: max(start, 0)]
    if np.array_equal(tokens[: len(before_ids)], before_ids):
      ids = tokens[len(before_ids) :].tolist()
    else:
      found.tokens += 1
      ids = self._pieces(added, first=False)
    known = len(self._pieces(header, first=False)) if header.strip() else 0
    return self._ended(ids), known

  def _ended(self, ids: list[int]) -> np.ndarray:
    """The ids up to the first that ends a turn, which is added if absent."""
    length = ids.index(self.end_id) if self.end_id in ids else len(ids)
    return np.array([*ids[:length], self.end_id], np.int32)

  def _write_probe(self) -> str:
    turns = (Message("user", "x"), Message("assistant", _PROBE))
    try:
      return self._template.render(turns, add_generation_prompt=False)
    except UserError:
      return ""  # what is wrong will be said of the user's conversations

  def _find_end(self, eos_id: int) -> int:
    """The first added token that the template writes after a reply."""
    after = self.probe.rpartition(_PROBE)[2]
    added = self._backend.get_added_tokens_decoder()
    for token in plain.inside(self._backend, after):
      if token in added and not added[token].content.isspace():
        return token
    return eos_id

  def _render(self, messages: Conversation, generation: bool) -> str:
    marked = [Message(m.role, self._mark(m.content)) for m in messages]
    return self._template.render(marked, add_generation_prompt=generation)

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
      ids = plain.inside(self._backend, start)
    for spelled, rest in zip(parts[::2], parts[1::2], strict=True):
      ids += self._text.inside(spelled) if spelled else []
      ids += plain.inside(self._backend, rest) if rest else []
    return ids
