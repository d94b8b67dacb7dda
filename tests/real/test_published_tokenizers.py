"""Conversations on published tokenizers, token for token as transformers'."""

import shutil

import chat_cases
import pytest

from offalign import data
from offalign.data import Message, Tokenizer
from offalign.data.text import role_markers
from offalign.errors import UserError

transformers = pytest.importorskip(
  "transformers", reason="parity needs offalign[parity]"
)

TEMPLATE = "chat_template.jinja"
CALLED = chat_cases.reply("", tool_calls=[chat_cases.CALL])
TALKS = {
  "one turn": [chat_cases.user("What is né?"), chat_cases.reply("born")],
  "three turns": [
    chat_cases.user("a"),
    chat_cases.reply("b"),
    chat_cases.user("c\n\nd"),
    chat_cases.reply(" 漢字\n"),
  ],
  "thoughts": [
    chat_cases.user("a"),
    chat_cases.reply("b", reasoning_content="old"),
    chat_cases.user("c"),
    chat_cases.reply("d", reasoning_content="new\nand more"),
  ],
  "a call": [chat_cases.user("Weather?"), CALLED],
  "two calls and text": [
    chat_cases.user("Weather?"),
    chat_cases.reply("Let me see.", tool_calls=[chat_cases.CALL] * 2),
  ],
  "an answer": [
    {"role": "system", "content": "Be brief."},
    chat_cases.user("Weather?"),
    {**CALLED, "reasoning_content": "look it up"},
    chat_cases.SAID,
    chat_cases.reply("3 degrees", reasoning_content="so it is"),
  ],
}
TOOLS = {"a call", "two calls and text", "an answer"}
# name -> the talks that its published template has no place for
REFUSED = {
  "qwen3": set(),
  "llama3_1": {"thoughts"} | TOOLS,
  "gemma3": {"thoughts"} | TOOLS,
  "smollm2": {"thoughts"} | TOOLS,
  "gptoss": {"two calls and text"},
}
MARKERS = {
  "qwen3": ["<|im_start|>", "<|im_end|>"],
  "llama3_1": [
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
  ],
  "gemma3": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
  "smollm2": ["<|im_start|>", "<|im_end|>"],
  "gptoss": [
    "<|return|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
  ],
}


@pytest.fixture(scope="module", params=REFUSED)
def both(request, real, tmp_path_factory):
  """The name, our tokenizer and theirs."""
  name = request.param
  folder = real(name if name == "smollm2" else f"tokenizers/{name}")
  made = tmp_path_factory.mktemp(name)
  for file in ("tokenizer.json", "tokenizer_config.json", TEMPLATE):
    if (folder / file).is_file():
      shutil.copy(folder / file, made)
  if name == "gptoss":  # published without its template
    (made / TEMPLATE).write_text(chat_cases.CHANNELS)
  theirs = transformers.AutoTokenizer.from_pretrained(made)
  return name, Tokenizer.load(made), theirs


def given_to_theirs(name, turns):
  if name != "gptoss":
    return turns
  return [
    {"thinking" if k == "reasoning_content" else k: v for k, v in t.items()}
    for t in turns
  ]


@pytest.mark.parametrize("talk", TALKS)
def test_tokens_are_those_of_transformers(both, talk):
  name, ours, theirs = both
  turns, tools = TALKS[talk], [chat_cases.TOOL] if talk in TOOLS else None
  (record,) = data.load([{"messages": turns, "tools": tools}]).records
  prompt, reply = record.prompt, record.completions[0]
  if talk in REFUSED[name]:
    with pytest.raises(UserError, match=r"does not write|leaves out"):
      ours.encode_rows([prompt], [(0, reply)])
    return
  turns = given_to_theirs(name, turns)
  how = {"tools": tools, "tokenize": True, "return_dict": False}
  found = ours.encode_rows([prompt], [(0, reply)])
  x, y = found.prompts[0].tolist(), found.completions[0].tolist()
  expected = theirs.apply_chat_template(turns, **how)
  if (name, talk) == ("gptoss", "an answer"):
    # The template drops the thoughts before the call once there is an answer.
    assert y == expected[-len(y) :]
    assert found.sentences[0].startswith("1 of 1 distinct completion: the chat")
  else:
    assert x + y == expected[: len(x + y)]
    assert theirs.decode(expected[len(x + y) :]).strip() == ""
  asked = theirs.apply_chat_template(
    turns[:-1], add_generation_prompt=True, **how
  )
  assert ours.encode_prompts([prompt])[0][0].tolist() == asked
  assert x[: len(asked)] == asked
  assert theirs.decode(x[len(asked) :]) in ("", "<think>\n\n</think>\n\n")
  assert y[-1] in ours.end_ids


def test_markers_that_are_typed_are_text(both):
  name, ours, _ = both
  chat = ours._layout.chat
  assert role_markers.find(ours._backend, chat.template) == MARKERS[name]
  ids = {ours._backend.token_to_id(token) for token in MARKERS[name]}
  typed = "x" + "y".join(MARKERS[name])

  def counts(text):
    found = ours.encode_rows([(Message("user", text),)], [(0, f"z{text}")])
    return [
      sum(token in ids for token in part[0].tolist())
      for part in (found.prompts, found.completions)
    ]

  assert counts(typed) == counts("x")


def test_variables_are_those_of_transformers(both):
  name, ours, theirs = both
  text, value = {
    "qwen3": ("enable_thinking=false", {"enable_thinking": False}),
    "gptoss": ("reasoning_effort=high", {"reasoning_effort": "high"}),
  }.get(name, (None, None))
  if text is None:
    with pytest.raises(UserError, match=r"no variable 'enable_thinking'"):
      ours.with_template_vars("enable_thinking=false")
    return
  turns = TALKS["three turns"]
  (record,) = data.load([{"messages": turns}]).records
  found = ours.with_template_vars(text).encode_rows(
    [record.prompt], [(0, record.completions[0])]
  )
  how = {"tokenize": True, "return_dict": False, **value}
  x, y = found.prompts[0].tolist(), found.completions[0].tolist()
  assert x == theirs.apply_chat_template(
    turns[:-1], add_generation_prompt=True, **how
  )
  expected = theirs.apply_chat_template(turns, **how)
  assert x + y == expected[: len(x + y)]
