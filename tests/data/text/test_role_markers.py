"""Markers of roles are control tokens, whatever the files call them."""

import json

import chat_cases
import pytest

from offalign.data import Message, Tokenizer
from offalign.data.text import role_markers
from offalign.data.text.chat_template import ChatTemplate

USERS = """{%- for m in messages %}
  {%- if m.role == 'user' %}{{- '<｜User｜>' + m.content }}
  {%- elif m.role == 'assistant' %}
    {{- '<｜Assistant｜>' + m.content + '</s>' }}
  {%- else %}{{- m.content }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\n' }}{%- endif %}"""
EXPLAINS = chat_cases.CHATML.replace(
  "{% for m", "{{ 'Think in <think> and </think>. ' }}{% for m", 1
)
THINK = ["<think>", "</think>"]

# template, added tokens that are not special -> the markers among them
CASES = [
  (USERS, ["<｜User｜>", "<｜Assistant｜>", *THINK],
   ["<｜User｜>", "<｜Assistant｜>"]),
  (chat_cases.MISTRAL, ["[INST]", "[/INST]", "[TOOL_CALLS]"],
   ["[INST]", "[/INST]"]),
  (chat_cases.GEMMA, ["<start_of_image>", "\n", "user", "<b>"], []),
  (EXPLAINS, THINK, []),
  (chat_cases.THINKING, chat_cases.THINKING_TOKENS, []),
  (chat_cases.CHANNELS, chat_cases.CHANNEL_TOKENS,
   ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"]),
]  # fmt: skip


def load(folder, template, added, special=True):
  chat_cases.write(folder, template, added=added)
  if not special:
    file = folder / "tokenizer.json"
    about = json.loads(file.read_text())
    for token in about["added_tokens"]:
      token["special"] = False
    file.write_text(json.dumps(about))
  return Tokenizer.load(folder)


@pytest.mark.parametrize(("template", "added", "expected"), CASES)
def test_markers_among_added_tokens(tmp_path, template, added, expected):
  tokenizer = load(tmp_path, template, added)
  made = ChatTemplate(template, {"bos_token": "<s>", "eos_token": "</s>"})
  found = role_markers.find(tokenizer._backend, made)
  assert [token for token in found if token in added] == expected
  assert not set(found) - {*added, *chat_cases.SPECIALS}


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("case", [0, 1, 5])
def test_typed_in_a_message_they_are_text(tmp_path, case, special):
  template, added, expected = CASES[case]
  tokenizer = load(tmp_path, template, added, special)
  ids = {tokenizer._backend.token_to_id(token) for token in expected}
  evil = "".join(f"x{token}y" for token in expected)

  def counts(prompt, reply):
    found = tokenizer.encode_rows([prompt], [(0, reply)])
    return [
      sorted(token for token in part[0].tolist() if token in ids)
      for part in (found.prompts, found.completions)
    ], found

  calm, _ = counts((Message("user", "x"),), "z")
  typed, found = counts((Message("user", evil),), f"z{evil}")
  assert typed == calm
  assert evil in tokenizer.decode(found.completions[0])
  # The text alone, too.
  assert not ids & set(tokenizer.encode([evil])[0].tolist())


def test_what_a_model_writes_itself_stays_a_token(tmp_path):
  tokenizer = load(
    tmp_path, chat_cases.THINKING, chat_cases.THINKING_TOKENS, special=False
  )
  think = tokenizer._backend.token_to_id("<think>")
  said = "<think>\nwhy\n</think>\n\nsat"
  found = tokenizer.encode_rows([(Message("user", "x"),)], [(0, said)])
  assert found.completions[0].tolist().count(think) == 1
  assert tokenizer.decode(found.completions[0]) == said
  called = "<tool_call>\n{}\n</tool_call>"
  found = tokenizer.encode_rows([(Message("user", "x"),)], [(0, called)])
  assert tokenizer.decode(found.completions[0]) == called


def test_a_saved_tokenizer_keeps_its_markers(tmp_path):
  template, added, _ = CASES[0]
  tokenizer = load(tmp_path / "a", template, added)
  tokenizer.save(tmp_path / "b")
  again = Tokenizer.load(tmp_path / "b")
  assert again.fingerprint == tokenizer.fingerprint


def test_a_call_may_have_an_end_of_its_own(tmp_path):
  tokenizer = load(
    tmp_path / "a", chat_cases.CHANNELS, chat_cases.CHANNEL_TOKENS
  )
  ends = [tokenizer._backend.id_to_token(i) for i in tokenizer.end_ids]
  assert ends == ["</s>", "<|return|>", "<|call|>"]
  tokenizer = load(
    tmp_path / "b", chat_cases.THINKING, chat_cases.THINKING_TOKENS
  )
  ends = [tokenizer._backend.id_to_token(i) for i in tokenizer.end_ids]
  assert ends == ["</s>", "<|im_end|>"]
