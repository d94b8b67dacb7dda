"""The layout of conversations by a chat template.

  prompt:      what the template writes for the messages, and before the
               assistant's turn (add_generation_prompt)
  completion:  what it writes after that for the assistant's turn, up to and
               including the token that ends the turn, just once

The template alone decides about BOS. Special tokens in the template's text
are tokens; in a message they are ordinary text, as with `transformers`'
sanitize_control_tokens. So are the markers of roles that the template writes,
see `role_markers`. Other added tokens that are not special, such as <think>,
are tokens in both.

An empty block of thinking that the template writes before a reply is part of
the prompt.

Where a whole conversation does not begin with its prompt, in text or in
tokens, the completion is tokenised apart and follows the prompt as it is.
"""

import collections
import functools
import json
import re
from collections.abc import Sequence

import numpy as np
import tokenizers

from offalign.data.reading.message_parts import REASONING
from offalign.data.reading.records import TOOLS, Message, Prompt
from offalign.data.reading.whole_message import WholeMessage, map_texts
from offalign.data.text import role_markers, round_trip, special_tokens
from offalign.data.text.boundary import Boundaries, Followed, Laid, Turn
from offalign.data.text.chat_template import ChatTemplate
from offalign.data.text.special_tokens import Plain
from offalign.errors import UserError

# Around the special tokens that a message spells; Unicode keeps these two
# from being characters, so that programs can use them.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"

# What opens a block of thinking and closes it, with nothing between.
_NO_THOUGHT = re.compile(
  r"(?:<([^<>/\s]+)>\s*</\1>|\[([^][/\s]+)\]\s*\[/\2\])\s*\Z"
)
_LONGEST = 200  # characters of such a block


class Conversations:
  """Encodes conversations by a template.

  Attributes:
    template: the template.
    end_id: the token that ends the assistant's turn.
    call_end_id: the one that ends a turn of tool calls.
  """

  def __init__(
    self,
    backend: tokenizers.Tokenizer,
    text: Plain,
    template: ChatTemplate,
    bos_id: int | None,
    end_id: int,
    call_end_id: int,
  ):
    """Joins what it needs.

    Args:
      backend: in which special tokens are tokens.
      text: the same tokenizer, in which they are text.
      template: of the conversations.
      bos_id: survives a cut where the template writes it first.
      end_id: ends the assistant's turn; see `role_markers.find_end`.
      call_end_id: ends a turn of tool calls.
    """
    self._backend = backend
    self._text = text
    self.template = template
    self.end_id = end_id
    self.call_end_id = call_end_id
    self._bos_id = bos_id
    self._marked = re.compile(
      f"{_OPEN}({text.spelled.pattern}){_CLOSE}|[{_OPEN}{_CLOSE}]"
    )

  def lay(self, prompts: Sequence[Prompt]) -> list[Laid]:
    """Conversations as tokens, up to where the assistant's turn begins."""
    texts = [self._render(prompt, True) for prompt in prompts]
    return self._laid(prompts, texts)

  def _laid(self, prompts: Sequence[Prompt], texts: list[str]) -> list[Laid]:
    none = np.zeros(0, np.int32)
    laid = []
    for prompt, text, ids in zip(
      prompts, texts, self._encode(texts), strict=True
    ):
      n = int(len(ids) > 0 and ids[0] == self._bos_id)
      laid.append(Laid(prompt, ids[:n], ids[n:], none, text))
    return laid

  def settle(self, at: Laid, replies: Sequence[str]) -> tuple[Laid, bool]:
    """The prompt with the empty block of thinking that replies begin with.

    A template may write such a block, `<think>\\n\\n</think>`, before a reply
    that has no thoughts. Nobody said it, so it is not to be trained on.

    Args:
      at: what `lay` made.
      replies: all that follow it.

    Returns:
      The prompt as it is where the template writes none, or other replies
      have thoughts; and whether some replies have a block and others not.
    """
    assert at.text is not None
    wholes = []
    try:
      for reply in (role_markers.REPLY, *replies):
        message = Message("assistant", reply)
        wholes.append(self._render((*at.prompt, message), False))
    except UserError:
      return at, False  # will be said of the reply
    header = wholes[0][len(at.text) :].partition(role_markers.REPLY)[0]
    text = at.text + header
    with_block = [whole.startswith(text) for whole in wholes[1:]]
    if not wholes[0].startswith(text) or not _is_block(at.text, header):
      return at, False
    if not all(with_block):
      return at, any(with_block)
    return self._laid([at.prompt], [text])[0], False

  @functools.cached_property
  def writes_blocks(self) -> bool:
    """Whether the template writes an empty block of thinking into a reply."""
    for turns in role_markers.PROBES:
      try:
        prompt = self.template.render(turns[:-1], add_generation_prompt=True)
        whole = self.template.render(turns, add_generation_prompt=False)
      except UserError:
        continue
      header = whole[len(prompt) :].partition(role_markers.REPLY)[0]
      return whole.startswith(prompt) and _is_block(prompt, header)
    return False

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
    end = self.end_id
    if isinstance(reply, WholeMessage) and "tool_calls" in reply.parts:
      end = self.call_end_id
    after = None
    if whole.startswith(at.text):
      added = whole[len(at.text) :]
      after = found.after(np.concatenate([at.before, at.body]), tokens)
    else:
      found.checked += 1
      found.template += 1
      if not isinstance(reply, WholeMessage):
        found.lost.append(0)
        alone = self._pieces(self._mark(reply), first=False)
        return _ended(alone, end), 0
      added = self._apart(at, reply, whole)
    found.lost.append(round_trip.lost_reply(reply, added))
    if after is None:
      ids = _ended(self._pieces(added, first=False), end)
    else:
      ids = _ended(after.tolist(), end)
    if reply.strip():
      header = added[: self._starts(reply, added)]
      known = len(self._pieces(header, first=False)) if header.strip() else 0
    else:
      nothing = (*at.prompt, Message("assistant", ""))
      known = len(ids) - 1 if whole == self._render(nothing, False) else 0
    return ids, known

  def _apart(self, at: Laid, reply: WholeMessage, whole: str) -> str:
    """What a template writes for a reply after a prompt that it changes.

    Such a template leaves out thoughts of earlier turns as soon as there is
    a reply. The reply's turn begins where the prompt's last words are last
    found before its own.

    Raises:
      UserError: where they are not found.
    """
    assert at.text is not None
    before = self._render(at.prompt, False)
    words = at.text[len(before) :] if at.text.startswith(before) else ""
    other = self._render(
      (*at.prompt, Message("assistant", _other(reply))), False
    )
    pairs = enumerate(zip(whole, other, strict=False))
    own = next((i for i, (a, b) in pairs if a != b), len(whole))
    start = whole.rfind(words, 0, own) if words else -1
    if start < 0:
      raise UserError(
        "the chat template does not write the conversation as its prompt "
        "and more, so the tokens of a reply with reasoning or tool calls "
        "cannot be told; write both into the reply's content"
      )
    return whole[start + len(words) :]

  def _starts(self, reply: str, added: str) -> int:
    """Where the reply's own text begins in what the template added.

    Raises:
      UserError: where reasoning or a call of it is not there.
    """
    if not isinstance(reply, WholeMessage):
      return max(added.find(self._mark(reply).strip()), 0)
    places = []
    found: collections.Counter[str] = collections.Counter()
    for what, said in _said_in(reply):
      text = self._mark(said).strip()
      place = added.find(text)
      found[text] += 1
      if added.count(text) < found[text]:
        raise UserError(
          f"the chat template leaves out {what} of the assistant's turn; take "
          "a tokenizer whose template writes it, or remove it"
        )
      places.append(place)
    return min(places, default=0)

  def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of what the template wrote, int32."""
    encoded = special_tokens.batch(self._backend, texts)
    for i, text in enumerate(texts):
      if _OPEN in text or _CLOSE in text:
        encoded[i] = np.array(self._pieces(text), np.int32)
    return encoded

  def _render(self, messages: Prompt, generation: bool) -> str:
    assert not isinstance(messages, str)
    marked = [m._replace(content=self._marked_content(m)) for m in messages]
    text = self.template.render(marked, add_generation_prompt=generation)
    if "\\ufdd" in text and any(_OPEN in m.content for m in marked):
      raise UserError(
        "a message or a tool spells a special token, and the chat template "
        "writes it with escapes; remove that spelling"
      )
    return text

  def _marked_content(self, message: Message) -> str:
    content = message.content
    if message.role == TOOLS:
      tools = map_texts(json.loads(content), self._mark)
      return json.dumps(tools, ensure_ascii=False)
    if isinstance(content, WholeMessage):
      return content.map(self._mark)
    return self._mark(content)

  def leaves_out(self, at: Laid) -> bool:
    """Whether the template leaves out reasoning of an earlier turn."""
    assert at.text is not None
    assert not isinstance(at.prompt, str)
    return any(
      self._mark(said).strip() not in at.text
      for message in at.prompt
      if isinstance(message.content, WholeMessage)
      for key, said in message.content.parts.items()
      if key in REASONING
    )

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


def _ended(ids: list[int], end: int) -> np.ndarray:
  """The ids up to the first that ends a turn, which is added if absent."""
  length = ids.index(end) if end in ids else len(ids)
  return np.array([*ids[:length], end], np.int32)


def _is_block(prompt: str, header: str) -> bool:
  """Whether a header is an empty block of thinking, or closes an open one."""
  said = header.strip()
  if not said or len(header) > _LONGEST:
    return False
  if not said.startswith(("</", "[/")):
    return bool(_NO_THOUGHT.match(said))
  opened = prompt[-_LONGEST:].rstrip().rpartition("\n")[2]
  return bool(_NO_THOUGHT.search(opened + said))


def _other(reply: WholeMessage) -> WholeMessage:
  """A message of the same parts whose texts begin with other letters."""

  def change(text: str) -> str:
    return ("offalign" if text.lstrip()[:1] != "o" else "probe") + text

  parts = reply.parts
  content = parts.pop("content")
  for key in REASONING:
    if key in parts:
      parts[key] = change(parts[key])
  for call in parts.get("tool_calls", ()):
    function = call.get("function", call)
    function["name"] = change(function["name"])
  return WholeMessage.of(change(content) if content else content, parts)


def _said_in(reply: WholeMessage) -> list[tuple[str, str]]:
  """(what it is, a text that the template must write) for each part."""
  parts = reply.parts
  said = [("the reasoning", parts[key]) for key in REASONING if key in parts]
  said.append(("the text", parts["content"]))
  for call in parts.get("tool_calls", ()):
    name = call.get("function", call)["name"]
    said.append((f"the call of {name!r}", name))
  return [(what, text) for what, text in said if text.strip()]
