"""The added tokens with which a chat template writes turns, and ends them.

They are control tokens whether the tokenizer's files call them special or
not: whoever types one in a message types text. Not so what a model writes
itself, such as <think> and <tool_call>, even where a template writes it too.
"""

import re
from collections.abc import Iterable

import tokenizers

from offalign.data.reading.records import Message
from offalign.data.text import special_tokens
from offalign.data.text.chat_template import ChatTemplate
from offalign.errors import UserError

REPLY = "offalignreply"
"""What the assistant says in a probe."""

_SAID = ("offalignsystem", "offalignuser", REPLY, "offalignmore")
_SYSTEM, _USER, _ANSWER, _MORE = (
  Message(role, said)
  for role, said in zip(
    ("system", "user", "assistant", "user"), _SAID, strict=True
  )
)
PROBES = (
  (_USER, _ANSWER),
  (_SYSTEM, _USER, _ANSWER),
)
"""Conversations that a template is likely to take, the first most of all."""

_LONGER = (
  (_USER,),
  (_SYSTEM, _USER),
  (_USER, _ANSWER, _MORE),
  (_SYSTEM, _USER, _ANSWER, _MORE),
)
# A letter or a digit at an edge is a word's, which anybody may type.
_MARKER = re.compile(r"[^\w\s].*[^\w\s]", re.DOTALL)
_TAG = re.compile(r"([<\[](?:\|)?)(?!/)(.+)", re.DOTALL)


def written(template: ChatTemplate) -> str:
  """What a template writes for a short conversation today; "" if nothing."""
  for turns in PROBES:
    try:
      return template.render(turns, add_generation_prompt=False)
    except UserError:
      continue  # what is wrong will be said of the user's conversations
  return ""


def find_end(backend: tokenizers.Tokenizer, written: str) -> int | None:
  """The added token that a template wrote after a reply, or None."""
  after = written.rpartition(REPLY)[2]
  added = backend.get_added_tokens_decoder()
  for token in special_tokens.inside(backend, after):
    if token in added and not added[token].content.isspace():
      return token
  return None


def find_call_end(
  backend: tokenizers.Tokenizer, template: ChatTemplate, end: int | None
) -> int | None:
  """The added token that ends a turn of tool calls, where it is not `end`."""
  after = template.after_call
  added = backend.get_added_tokens_decoder()
  tokens = special_tokens.inside(backend, after) if after else []
  if end in tokens:
    return None
  marks = [
    token
    for token in tokens
    if token in added and _MARKER.fullmatch(added[token].content)
  ]
  # A tag such as </tool_call> closes a call, not the turn.
  last = added[marks[-1]].content if marks else "</"
  return None if "/" in last else marks[-1]


def find(backend: tokenizers.Tokenizer, template: ChatTemplate) -> list[str]:
  """The markers of roles among the added tokens, in the order of their ids.

  A tag that has a partner which closes it, as <think> and [INST] have, is a
  marker only where it encloses what a message says.
  """
  added = backend.get_added_tokens_decoder()
  spelled = {token.content for token in added.values()}
  found: set[int] = set()
  for text in _frames(template):
    for token in {*special_tokens.inside(backend, text)} & {*added}:
      content = added[token].content
      if not _MARKER.fullmatch(content):
        continue
      partner = _partner(content, spelled)
      if partner is None or _encloses(text, *partner):
        found.add(token)
  return [added[token].content for token in sorted(found)]


def _frames(template: ChatTemplate) -> Iterable[str]:
  for turns in (*PROBES, *_LONGER):
    for generation in (False, True):
      try:
        yield template.render(turns, add_generation_prompt=generation)
      except UserError:
        continue


def _partner(content: str, spelled: set[str]) -> tuple[str, str] | None:
  """The opening and the closing tag, if it is one of two."""
  opened = content.replace("/", "", 1)
  tag = _TAG.fullmatch(opened)
  if tag is None:
    return None
  closed = f"{tag[1]}/{tag[2]}"
  both = {opened, closed} <= spelled and content in (opened, closed)
  return (opened, closed) if both else None


def _encloses(text: str, opened: str, closed: str) -> bool:
  """Whether what a message says is between the two tags."""
  inner = re.escape(opened) + "(.*?)" + re.escape(closed)
  return any(
    said in found[1]
    for found in re.finditer(inner, text, re.DOTALL)
    for said in _SAID
  )
