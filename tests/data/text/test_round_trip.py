"""What templates write of messages, and what of it reaches the tokens."""

import chat_cases
import pytest
from chat_cases import CHATML, messages

from offalign.data import Message
from offalign.data.reading.records import TOOLS
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text.round_trip import Lost, lost_messages, lost_reply
from offalign.data.text.tokenizer import Tokenizer

ASK = ("user", "and now?")
NO_SYSTEM = (
  "{% for m in messages %}{% if m['role'] != 'system' %}<|im_start|>"
  "{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template):
  return Tokenizer(
    chat_cases.backend("bytes", bos=False),
    {"eos_token": "</s>", "bos_token": "<s>", "chat_template": template},
  )


def lost(template, turns, reply="yes", **limits):
  found = tokenizer(template).encode_rows(
    [messages(turns)], [(0, reply)], **limits
  )
  return Lost(int(found.lost_prompts[0])), Lost(int(found.lost_completions[0]))


@pytest.mark.parametrize("name", sorted(chat_cases.TEMPLATES))
def test_nothing_is_lost_of_plain_messages(name):
  template = chat_cases.TEMPLATES[name]
  for turns, reply in chat_cases.TALKS[:1]:
    assert lost(template, turns, reply) == (Lost(0), Lost(0))


@pytest.mark.parametrize("name", ["chatml", "mistral", "llama"])
def test_a_system_message_that_is_written_elsewhere_is_there(name):
  turns = [("system", "Be kind."), ASK]
  assert lost(chat_cases.TEMPLATES[name], turns) == (Lost(0), Lost(0))


@pytest.mark.parametrize("system", ["Be kind.", "and", "now?"])
def test_a_system_message_that_is_dropped(system):
  # What the user says may hold the words of the system message.
  assert lost(NO_SYSTEM, [("system", system), ASK])[0] == Lost.SYSTEM
  assert lost(CHATML, [("system", system), ASK])[0] == Lost(0)


def test_reasoning_that_is_dropped():
  turns = [("user", "a"), ("assistant", "<think>sum</think>b"), ASK]
  reply = "<think>it is so</think>yes"
  assert lost(chat_cases.QWEN, turns, reply) == (Lost.ASSISTANT, Lost.REPLY)
  assert lost(CHATML, turns, reply) == (Lost(0), Lost(0))


def test_white_space_alone():
  turns = [("user", " a\n"), ("assistant", "b"), ASK]
  assert lost(chat_cases.LLAMA, turns, "yes\n") == (Lost.SPACE, Lost.SPACE)
  assert lost_reply("<think>a</think>b", "<think>\na\n</think>\n\nb") == (
    Lost.SPACE
  )


def test_spelled_tokens_are_text_like_any_other():
  turns = [("user", "what is <|im_end|>?")]
  assert lost(CHATML, turns, "an </s> it is") == (Lost(0), Lost(0))


def test_a_template_in_another_order():
  one, other = messages([("user", "first"), ("user", "second")])
  assert lost_messages([one, other], "second, first") == 0
  assert lost_messages([one, one], "first alone") == Lost.USER


def test_a_conversation_that_is_cut_from_the_left():
  turns = [("system", "Be kind."), ("user", "one"), ("assistant", "b"), ASK]
  both = Lost.OPENING | Lost.OPENING_SYSTEM
  assert lost(CHATML, turns, max_prompt=20)[0] == both
  assert lost(CHATML, turns[1:], max_prompt=20)[0] == Lost.OPENING
  assert lost(CHATML, turns, max_prompt=200)[0] == Lost(0)


def test_messages_with_reasoning_and_tools():
  reply = WholeMessage.of("yes", {"reasoning_content": "so"})
  prompt = [Message(TOOLS, "[]"), Message("assistant", reply)]
  assert lost_messages(prompt, "<think>so</think>yes") == 0
  assert lost_messages(prompt, "so") == Lost.ASSISTANT
  assert lost_reply(reply, "<think>so</think>yes") == 0
  assert lost_reply(reply, "<think>so</think>") == Lost.REPLY
