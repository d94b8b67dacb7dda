"""Round trip of a chat template: is each message's text in what it wrote?"""

import enum
from collections.abc import Sequence

from offalign.data.reading.records import TOOLS, Message
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text.boundary import Laid


class Lost(enum.IntFlag):
  """What of a conversation is not among its tokens.

  Attributes:
    SYSTEM: text of a system message.
    USER: text of a user's message, or of a tool's.
    ASSISTANT: text of an assistant's turn before the last.
    REPLY: text of the reply.
    SPACE: white space of a message whose other text is there.
    OPENING: the first tokens, which a limit cuts off.
    OPENING_SYSTEM: the system message, or its beginning, with them.
  """

  SYSTEM = 1
  USER = 2
  ASSISTANT = 4
  REPLY = 8
  SPACE = 16
  OPENING = 32
  OPENING_SYSTEM = 64


_ROLES = {
  "system": Lost.SYSTEM,
  "developer": Lost.SYSTEM,
  "assistant": Lost.ASSISTANT,
}


def lost_prompt(at: Laid, max_prompt: int | None, *, by_template: bool) -> int:
  """`Lost` flags of a prompt.

  Args:
    at: the prompt as tokens, before it is cut.
    max_prompt: how many are kept; None = all.
    by_template: whether a chat template wrote it, if it is a conversation.
  """
  if isinstance(at.prompt, str):
    return 0
  lost = 0
  if by_template and at.text is not None:
    lost |= lost_messages(at.prompt, at.text)
  length = len(at.before) + len(at.body) + len(at.after)
  if max_prompt is not None and length > max_prompt:
    lost |= lost_opening(at.prompt)
  return lost


def lost_opening(messages: Sequence[Message]) -> int:
  """`Lost` flags of a conversation that is cut from the left."""
  has_system = messages[0].role in ("system", "developer")
  return int(Lost.OPENING | (Lost.OPENING_SYSTEM if has_system else 0))


def lost_messages(messages: Sequence[Message], written: str) -> int:
  """`Lost` flags of messages whose text a template did not write.

  Args:
    messages: the conversation.
    written: by the template, perhaps with marks around spelled tokens.
  """
  written, begin = _unmarked(written), 0
  said = [
    (message.role, _text(message.content))
    for message in messages
    if message.role != TOOLS
  ]
  for _, text in said:
    at = written.find(text, begin)
    if at < 0:
      break
    begin = at + len(text)
  else:
    return 0
  # A template may write messages in another order. The longest first: a short
  # one is easily found inside another.
  lost, left = 0, written
  for role, text in sorted(said, key=lambda each: -len(each[1])):
    if text in left:
      left = left.replace(text, "\0", 1)
    elif _bare(text) in _bare(left):
      lost |= Lost.SPACE
    else:
      lost |= _ROLES.get(role, Lost.USER)
  return int(lost)


def lost_reply(reply: str, written: str) -> int:
  """`Lost` flags of a reply; see `lost_messages`."""
  written, reply = _unmarked(written), _text(reply)
  if reply in written:
    return 0
  space_alone = _bare(reply) in _bare(written)
  return int(Lost.SPACE if space_alone else Lost.REPLY)


def _text(content: str) -> str:
  """What a message says, beside reasoning and calls.

  Of reasoning in earlier turns the layout tells, and what is left out of a
  reply's is refused.
  """
  if isinstance(content, WholeMessage):
    return str(content.parts["content"])
  return content


def _unmarked(written: str) -> str:
  return written.replace("\ufdd0", "").replace("\ufdd1", "")


def _bare(text: str) -> str:
  return "".join(text.split())


SAID = {
  Lost.SYSTEM: "have a system message of which the chat template drops text",
  Lost.USER: (
    "have a message of the user, or of a tool, of which the chat template "
    "drops text"
  ),
  Lost.ASSISTANT: (
    "have an earlier turn of the assistant of which the chat template drops "
    "text"
  ),
  Lost.REPLY: "have a reply of which the chat template drops text",
  Lost.SPACE: (
    "have a message or a reply of which the chat template drops or changes "
    "white space"
  ),
  Lost.OPENING_SYSTEM: (
    "have a conversation that loses its system message, or the beginning of "
    "it, to {limit}, which keeps the end"
  ),
  Lost.OPENING: (
    "have a conversation that loses its opening to {limit}, which keeps the end"
  ),
}
"""What is lost -> what is said of the rows; {limit} is how max_prompt is
written."""
