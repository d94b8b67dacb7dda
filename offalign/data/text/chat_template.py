"""Chat templates: a conversation -> the text that a model was trained on.

They are rendered as `transformers` renders them, by jinja2; what a template can
reach is the messages, the tools and the special tokens' text, and what it can
do is bounded, see `offalign.data.text.sandbox`.
"""

import functools
import gc
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from offalign.data.reading.message_parts import REASONING
from offalign.data.reading.records import TOOLS, Message
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text import sandbox
from offalign.errors import UserError

_SAID = "offalignprobe"


def _call(name: str) -> dict[str, Any]:
  function = {"name": name, "arguments": {"x": "y"}}
  return {"type": "function", "id": "offalign0", "function": function}


def _tool(name: str) -> dict[str, Any]:
  parameters = {
    "type": "object",
    "properties": {"x": {"type": "string", "description": "x"}},
    "required": ["x"],
  }
  function = {"name": name, "description": "x", "parameters": parameters}
  return {"type": "function", "function": function}


class ChatTemplate:
  """A compiled template; see the module.

  Attributes:
    asks_the_date: whether it may write the date.
  """

  def __init__(
    self,
    source: str,
    special_tokens: Mapping[str, str],
    with_tools: str | None = None,
  ):
    """Compiles.

    Args:
      source: the template.
      special_tokens: what it sees besides the messages: "bos_token" -> "<s>".
      with_tools: another one for conversations with tools, if there is one;
        compiled when it is first used.

    Raises:
      UserError: where the template is not valid.
    """
    self.asks_the_date = "strftime_now" in source + (with_tools or "")
    self._special_tokens = dict(special_tokens)
    self._environment = sandbox.environment()
    self._known: dict[str, bool | None] = {}
    self._template = self._compile(source)
    self._tools_source = with_tools

  @functools.cached_property
  def _with_tools(self) -> jinja2.Template:
    if self._tools_source is None:
      return self._template
    return self._compile(self._tools_source)

  def _compile(self, source: str) -> jinja2.Template:
    try:
      return self._environment.from_string(source)
    except Exception as error:  # a template can break its compiler too
      raise UserError(
        f"the tokenizer's chat template is not valid: {_short(error)}"
      ) from error

  def render(
    self, messages: Sequence[Message], *, add_generation_prompt: bool
  ) -> str:
    """Writes a conversation.

    Args:
      messages: the turns; the tools before them, if there are any.
      add_generation_prompt: whether what comes before the assistant's next
        turn follows.

    Raises:
      UserError: where the template fails, refuses the conversation, has no
        place for its tools, tool calls or reasoning, or goes beyond the
        bounds of `sandbox`.
    """
    asked = any(m.role == "developer" for m in messages)
    if asked and not self._has_developer:
      messages = [
        m._replace(role="system") if m.role == "developer" else m
        for m in messages
      ]
    tools, turns = self._as_dicts(messages)
    return self._render(turns, tools, add_generation_prompt)

  def _as_dicts(
    self, messages: Sequence[Message]
  ) -> tuple[list[Any] | None, list[dict[str, Any]]]:
    """The tools and the messages, as `transformers` is given them."""
    tools = None
    turns: list[dict[str, Any]] = []
    for message in messages:
      if message.role == TOOLS:
        tools = json.loads(message.content)
        self._check("tools", "tools")
        continue
      if not isinstance(message.content, WholeMessage):
        turns.append({"role": message.role, "content": message.content})
      else:
        parts = message.content.parts
        if "tool_calls" in parts:
          self._check("tool_calls", "tool calls of the assistant")
        for key in REASONING:
          if key in parts:
            parts = self._with_reasoning(parts, key)
        turns.append({"role": message.role, **parts})
      if message.role == "tool":
        self._check("tool", "messages of role 'tool'")
    return tools, turns

  def _check(self, what: str, words: str) -> None:
    if self._writes(what) is False:
      raise UserError(
        f"the conversation has {words}, which the tokenizer's chat template "
        "does not write; take a tokenizer whose template does, write them "
        "into the messages' content, or remove them"
      )

  def _with_reasoning(self, parts: dict[str, Any], key: str) -> dict[str, Any]:
    """The parts of a message, the reasoning under the key that is written."""
    for name in (key, *REASONING):
      if self._writes(name) is not False:
        return {name if k == key else k: value for k, value in parts.items()}
    raise UserError(
      f"the conversation has {key!r}, which the tokenizer's chat template does "
      "not write; take a tokenizer whose template does, write the reasoning "
      "into the message's content, or remove the key"
    )

  def _writes(self, what: str) -> bool | None:
    """Whether the template writes tools, calls, or reasoning under a key.

    Returns:
      None where it refuses every conversation that would tell.
    """
    if what not in self._known:
      self._known[what] = self._probe(what)
    return self._known[what]

  def _probe(self, what: str) -> bool | None:
    ask: dict[str, Any] = {"role": "user", "content": "x"}
    reply: dict[str, Any] = {"role": "assistant", "content": ""}
    turns: list[dict[str, Any]] = [ask]
    tools: list[list[Any] | None] = [None]
    if what == "tools":
      tools = [[_tool(_SAID)]]
    elif what == "tool_calls":
      turns = [ask, {**reply, "tool_calls": [_call(_SAID)]}]
      tools = [None, [_tool("f")]]
    elif what == "tool":
      answer = {"role": "tool", "name": "f", "tool_call_id": "offalign0"}
      calls = {**reply, "tool_calls": [_call("f")]}
      turns = [ask, calls, {**answer, "content": _SAID}]
    else:
      turns = [ask, {**reply, "content": "x", what: _SAID}]
    written = []
    for head in ([], [{"role": "system", "content": "x"}]):
      for given in tools:
        try:
          text = self._render([*head, *turns], given, False)
        except UserError:
          continue
        written.append(_SAID in text)
    return any(written) if written else None

  @functools.cached_property
  def after_call(self) -> str:
    """What is written after the name of a tool that is called; "" if none."""
    reply: dict[str, Any] = {"role": "assistant", "content": ""}
    turns = [
      {"role": "user", "content": "x"},
      {**reply, "tool_calls": [_call(_SAID)]},
    ]
    for given in (None, [_tool("f")]):
      try:
        _, name, after = self._render(turns, given, False).rpartition(_SAID)
      except UserError:
        continue
      if name:
        return after
    return ""

  @functools.cached_property
  def _has_developer(self) -> bool:
    """Whether what a developer says is in what the template writes."""
    said = "offalign-developer"
    asked = [
      {"role": "developer", "content": said},
      {"role": "user", "content": "x"},
    ]
    try:
      return said in self._render(asked, None, True)
    except UserError:
      return False

  def _render(
    self,
    turns: list[dict[str, Any]],
    tools: list[Any] | None,
    generation: bool,
  ) -> str:
    template = self._template if tools is None else self._with_tools
    pieces: list[str] = []
    written = 0
    self._environment.begin()
    failure = ""
    try:
      for piece in template.generate(
        messages=turns,
        tools=tools,
        documents=None,
        add_generation_prompt=generation,
        **self._special_tokens,
      ):
        written += len(piece)
        if written > sandbox.MAX_CHARACTERS:
          raise sandbox.TooLong
        pieces.append(piece)
    except Exception as error:  # whatever untrusted code may raise
      failure = _short(error)
    if failure:
      # All that the template made hangs on its error, by a cycle of jinja2's.
      gc.collect(1)
      roles = ", ".join(turn["role"] for turn in turns)
      raise UserError(
        f"the tokenizer's chat template fails on a conversation of {roles}: "
        f"{failure}"
      )
    return "".join(pieces)


def _short(error: Exception, limit: int = 300) -> str:
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= limit else text[:limit] + "..."
