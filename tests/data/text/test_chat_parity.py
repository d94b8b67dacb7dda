"""Conversations as text and tokens, equal to transformers'."""

import inspect

import chat_cases
import numpy as np
import pytest

from offalign import data
from offalign.data import Tokenizer
from offalign.errors import UserError

transformers = pytest.importorskip(
  "transformers", reason="parity needs offalign[parity]"
)
EVERY = [
  (template, kind)
  for template in chat_cases.TEMPLATES
  for kind in ("bytes", "pieces")
]


@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def both(request, tmp_path_factory):
  """The template's name, our tokenizer and theirs, of one folder."""
  name, kind = request.param
  folder = tmp_path_factory.mktemp("tokenizer")
  chat_cases.write(folder, chat_cases.TEMPLATES[name], kind)
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  return name, Tokenizer.load(folder), theirs


def ids_of(theirs, turns, **options):
  return theirs.apply_chat_template(
    chat_cases.dicts(turns), tokenize=True, return_dict=False, **options
  )


def encode(ours, turns, reply):
  found = ours.encode_rows([chat_cases.messages(turns)], [(0, reply)])
  return found.prompts[0].tolist(), found.completions[0].tolist(), found


@pytest.mark.parametrize(("turns", "reply"), chat_cases.TALKS)
def test_texts_and_tokens_are_those_of_transformers(both, turns, reply):
  name, ours, theirs = both
  if name == "gemma" and turns[0][0] == "system":
    with pytest.raises(UserError, match="System role not supported"):
      encode(ours, turns, reply)
    return
  template = ours._layout.chat.template
  whole = [*turns, ("assistant", reply)]
  for generation in (False, True):
    for talk in (turns, whole):
      assert template.render(
        chat_cases.messages(talk), add_generation_prompt=generation
      ) == theirs.apply_chat_template(
        chat_cases.dicts(talk),
        tokenize=False,
        add_generation_prompt=generation,
      )
  prompt, completion, found = encode(ours, turns, reply)
  asked = ids_of(theirs, turns, add_generation_prompt=True)
  assert (
    ours.encode_prompts([chat_cases.messages(turns)])[0][0].tolist() == asked
  )
  expected = ids_of(theirs, whole)
  block = []
  if name == "qwen":
    # The template writes an empty block of thinking before each reply.
    block = expected[len(asked) : len(prompt)]
    assert theirs.decode(block) == "<think>\n\n</think>\n\n"
  assert prompt == [*asked, *block]
  end = theirs.convert_tokens_to_ids(chat_cases.ENDS[name])
  if not found.sentences or "across" not in found.sentences[0]:
    assert prompt + completion == expected[: len(prompt) + len(completion)]
  after = expected[len(prompt) + len(completion) :]
  assert completion[-1] == end
  assert end not in [*completion[:-1], *after]
  assert prompt.count(1) == (1 if name in ("llama", "gemma", "mistral") else 0)


def test_what_a_message_spells_is_text(both):
  _, ours, theirs = both
  if (
    "sanitize_control_tokens"
    not in inspect.signature(theirs.apply_chat_template).parameters
  ):
    pytest.skip("this version of transformers cannot do it")
  turns = [("user", "the <s> cat<|im_end|>")]
  reply = "sat</s><|eot_id|> on"
  _, completion, _ = encode(ours, turns, reply)
  prompt = ours.encode_prompts([chat_cases.messages(turns)])[0][0].tolist()
  assert prompt == ids_of(
    theirs, turns, add_generation_prompt=True, sanitize_control_tokens=True
  )
  assert not set(completion[:-1]) & set(range(len(chat_cases.SPECIALS)))
  assert reply in ours.decode(completion)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("bos", [True, False])
def test_plain_text_is_tokenised_as_one(tmp_path, kind, bos):
  folder = chat_cases.write(tmp_path, kind=kind, bos=bos)
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  ours = Tokenizer.load(folder)
  rows = [("the cat", " sat on"), ("What?\n", "two two"), ("", "It is")]
  found = ours.encode_rows(
    [x for x, _ in rows], [(i, y) for i, (_, y) in enumerate(rows)]
  )
  assert found.sentences == ()
  assert bos == (theirs("x").input_ids[0] == 1)
  for (x, y), prompt, completion in zip(
    rows, found.prompts, found.completions, strict=True
  ):
    if x or bos:
      assert prompt.tolist() == theirs(x).input_ids
    joined = np.concatenate([prompt, completion]).tolist()
    expected = [*theirs(x + y).input_ids, theirs.eos_token_id]
    assert joined == ([1] if not (x or bos) else []) + expected


TOOLS = [chat_cases.TOOL]
CALLED = chat_cases.reply("", tool_calls=[chat_cases.CALL])
TOOL_TALKS = {
  "plain": ([chat_cases.user("a"), chat_cases.reply("b")], None),
  "system": (
    [
      {"role": "system", "content": "s"},
      chat_cases.user("a"),
      chat_cases.reply("b"),
    ],
    TOOLS,
  ),
  "developer": (
    [
      {"role": "developer", "content": "s"},
      chat_cases.user("a"),
      chat_cases.reply("b"),
    ],
    TOOLS,
  ),
  "thoughts": (
    [
      chat_cases.user("a"),
      chat_cases.reply("b", reasoning_content="old"),
      chat_cases.user("c"),
      chat_cases.reply("d", reasoning_content="né\nnew"),
    ],
    None,
  ),
  "call": ([chat_cases.user("a"), CALLED], TOOLS),
  "thoughtful call": (
    [
      chat_cases.user("a"),
      {**CALLED, "reasoning_content": "to know"},
    ],
    TOOLS,
  ),
  "answer": (
    [
      chat_cases.user("a"),
      CALLED,
      chat_cases.SAID,
      chat_cases.reply("3", reasoning_content="so"),
    ],
    TOOLS,
  ),
  "calls without tools": ([chat_cases.user("a"), CALLED], None),
}
RICH = {
  "thinking": (chat_cases.THINKING, chat_cases.THINKING_TOKENS),
  "channels": (chat_cases.CHANNELS, chat_cases.CHANNEL_TOKENS),
}


@pytest.fixture(scope="module", params=RICH)
def rich(request, tmp_path_factory):
  template, added = RICH[request.param]
  folder = tmp_path_factory.mktemp("rich")
  chat_cases.write(folder, template, added=added)
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  return request.param, Tokenizer.load(folder), theirs


@pytest.mark.parametrize("talk", TOOL_TALKS)
def test_tools_calls_and_reasoning_are_those_of_transformers(rich, talk):
  name, ours, theirs = rich
  turns, tools = TOOL_TALKS[talk]
  (record,) = data.load([{"messages": turns, "tools": tools}]).records
  if name == "channels":  # its own name for the same thing
    turns = [
      {"thinking" if k == "reasoning_content" else k: v for k, v in t.items()}
      for t in turns
    ]
  how = {"tools": tools, "tokenize": True, "return_dict": False}
  found = ours.encode_rows([record.prompt], [(0, record.completions[0])])
  both = [*found.prompts[0].tolist(), *found.completions[0].tolist()]
  expected = theirs.apply_chat_template(turns, **how)
  assert both == expected[: len(both)]
  assert theirs.decode(expected[len(both) :]).strip() == ""
  asked = theirs.apply_chat_template(
    turns[:-1], add_generation_prompt=True, **how
  )
  assert ours.encode_prompts([record.prompt])[0][0].tolist() == asked
  assert both[: len(asked)] == asked


def test_a_template_of_its_own_for_tools(tmp_path):
  templates = [
    {"name": "default", "template": chat_cases.CHATML},
    {"name": "tool_use", "template": chat_cases.THINKING},
  ]
  chat_cases.write(tmp_path / "a", chat_template=templates)
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
  ours = Tokenizer.load(tmp_path / "a")
  ours.save(tmp_path / "b")
  for tools in (None, TOOLS):
    turns = [chat_cases.user("a"), chat_cases.reply("b")]
    (record,) = data.load([{"messages": turns, "tools": tools}]).records
    expected = theirs.apply_chat_template(
      turns[:1],
      tools=tools,
      add_generation_prompt=True,
      tokenize=True,
      return_dict=False,
    )
    for tokenizer in (ours, Tokenizer.load(tmp_path / "b")):
      (ids,), _ = tokenizer.encode_prompts([record.prompt])
      assert ids.tolist() == expected


def test_typed_markers_do_not_end_turns_of_tools(rich):
  _, ours, theirs = rich
  typed = "".join(theirs.get_added_vocab())
  turns = [chat_cases.user(typed), chat_cases.reply(f"x{typed}")]
  (record,) = data.load([{"messages": turns}]).records
  found = ours.encode_rows([record.prompt], [(0, record.completions[0])])
  ends = [*found.completions[0].tolist()]
  assert sum(token in ours.end_ids for token in ends) == 1
  assert ends[-1] in ours.end_ids
