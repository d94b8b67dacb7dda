"""Conversations and plain text on a tokenizer with a chat template."""

import json

import chat_cases
import numpy as np
import pytest
import tokenizers

from offalign import data
from offalign.data import Message, Tokenizer
from offalign.errors import UserError
from offalign.types import Kind

ASK = (Message("user", "the cat"),)
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def make(tmp_path_factory):
  """Makes a tokenizer with a template."""

  def make(template, kind="bytes", **options):
    folder = tmp_path_factory.mktemp("tokenizer")
    return Tokenizer.load(chat_cases.write(folder, template, kind, **options))

  return make


@pytest.fixture(scope="module")
def chatml(make):
  return make(chat_cases.CHATML)


@pytest.fixture(scope="module")
def qwen(make):
  return make(chat_cases.QWEN)


def one(tokenizer, prompt, text, **limits):
  """prompt and completion, as token lists, and what is said."""
  found = tokenizer.encode_rows([prompt], [(0, text)], **limits)
  return found.prompts[0].tolist(), found.completions[0].tolist(), found


def spelled(tokenizer, ids):
  return tokenizer._backend.decode(ids, skip_special_tokens=False)


def view(rows):
  records = [
    data.Record(x, (y,), None, None, False, f"f:{i}")
    for i, (x, y) in enumerate(rows)
  ]
  return data.view(records, Kind.SINGLE)


def test_a_turn_ends_once_and_is_where_samples_stop(chatml):
  prompt, completion, found = one(chatml, ASK, "sat on")
  assert spelled(chatml, prompt) == (
    "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
  )
  assert spelled(chatml, completion) == "sat on<|im_end|>"
  assert chatml.end_ids == (2, 4)
  assert chatml.decode([*completion, *prompt]) == "sat on"
  assert found.sentences == (
    "1 conversation: the chat template writes no beginning-of-sequence token, "
    "and none was added",
  )


def test_a_template_that_ends_nothing_gets_the_eos(make):
  _, completion, _ = one(make(PLAIN), ASK, " sat")
  assert spelled(make(PLAIN), completion) == " sat</s>"


def test_an_end_that_the_file_does_not_call_special(tmp_path):
  chat_cases.write(tmp_path, chat_cases.CHATML)
  file = tmp_path / "tokenizer.json"
  about = json.loads(file.read_text())
  for token in about["added_tokens"]:
    token["special"] = token["content"] != "<|im_end|>"
  file.write_text(json.dumps(about))
  tokenizer = Tokenizer.load(tmp_path)
  _, completion, _ = one(tokenizer, ASK, "a<|im_end|>b")
  assert completion.index(4) == len(completion) - 1
  assert spelled(tokenizer, completion) == "a<|im_end|>b<|im_end|>"


def test_a_template_that_wants_a_system_turn(make):
  wants = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}"
    "{% endif %}" + chat_cases.CHATML
  )
  talk = (Message("system", "You help."), *ASK)
  _, completion, _ = one(make(wants), talk, "sat")
  assert spelled(make(wants), completion) == "sat<|im_end|>"


def test_cuts_keep_bos_the_end_of_the_prompt_and_the_start_of_the_reply(make):
  llama = make(chat_cases.LLAMA)
  whole, reply, _ = one(llama, ASK, "sat on the mat")
  limits = {"max_prompt": 7, "max_completion": 2}
  prompt, completion, found = one(llama, ASK, "sat on the mat", **limits)
  assert prompt == [whole[0], *whole[-6:]]
  assert whole[0] == llama.bos_id
  assert completion == reply[:2]
  assert (found.cut_prompts, found.cut_completions) == (1, 1)


def test_plain_text_is_used_as_it_is(chatml):
  prompt, completion, found = one(chatml, "the cat", " sat")
  assert spelled(chatml, prompt) == "<s>the cat"
  assert spelled(chatml, completion) == " sat</s>"
  assert found.sentences == (
    "note: the tokenizer has a chat template, but plain text is used as it "
    "is, without it",
  )


def test_text_and_conversations_in_one_table(chatml):
  found = chatml.encode_rows(["a", ASK], [(1, "b"), (0, "c"), (1, "d")])
  alone = [one(chatml, ASK, "b"), one(chatml, "a", "c"), one(chatml, ASK, "d")]
  assert [y.tolist() for y in found.completions] == [y for _, y, _ in alone]
  assert [x.tolist() for x in found.prompts] == [alone[1][0], alone[0][0]]


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_text_whose_tokens_would_cross_the_boundary(make, kind):
  tokenizer = make(None, kind)
  rows = [("the c", "at"), ("the", " cat"), ("the", " mat")]
  found = tokenizer.encode_rows(
    ["the c", "the"], [(0, "at"), (1, " cat"), (1, " mat")]
  )
  assert found.sentences == (
    "1 of 3 distinct completions: a token of prompt and completion together "
    "lies across the prompt's end; tokenised apart and put after the prompt",
  )
  for (x, y), ids in zip(rows, found.completions, strict=True):
    prompt = found.prompts[x == "the"]
    whole = np.concatenate([prompt, ids[:-1]])
    assert tokenizer.decode(whole) == x + y
    assert ids[-1] == tokenizer.eos_id


def test_conversations_whose_tokens_would_cross_the_boundary(make):
  tokenizer = make(PLAIN)
  prompt, completion, found = one(tokenizer, (Message("user", "the c"),), "at")
  assert tokenizer.decode(prompt) == "the c"
  assert tokenizer.decode(completion) == "at"
  assert "1 of 1 distinct completion: a token" in found.sentences[0]


def test_a_template_that_writes_the_turn_otherwise(make):
  source = chat_cases.CHATML.replace("assistant\n", "assistant:")
  tokenizer = make(source)
  prompt, completion, found = one(tokenizer, ASK, "sat")
  assert spelled(tokenizer, prompt).endswith("<|im_start|>assistant:")
  assert spelled(tokenizer, completion) == "sat<|im_end|>"
  assert found.sentences[0] == (
    "1 of 1 distinct completion: the chat template does not write the "
    "conversation as its prompt and more; tokenised apart and put after the "
    "prompt"
  )


def test_a_template_that_asks_for_the_date(make):
  tokenizer = make("{{ strftime_now('%Y') }}" + chat_cases.CHATML)
  _, _, found = one(tokenizer, ASK, "sat")
  assert "asks for the date" in found.sentences[-1]
  assert tokenizer.probe.startswith("20")


def test_tokens_without_text_have_vanished(qwen):
  rows = view([(ASK, "sat"), (ASK, "\n"), ("x", "y"), (ASK, "")])
  error = (
    r"^1 row with a completion of whose text no token is left \(f:1\): the "
    r"tokenizer makes none of it.*vanished=drop"
  )
  with pytest.raises(UserError, match=error):
    data.tokenize(rows, qwen)
  found = data.tokenize(rows, qwen, vanished="drop")
  assert [source for (source,) in found.sources] == ["f:0", "f:2", "f:3"]
  assert found.summary[-1] == (
    "1 row with a completion of whose text no token is left (f:1): dropped"
  )
  assert any("1 completion of no text" in s for s in found.summary)


def test_a_limit_that_leaves_only_what_the_template_writes(qwen):
  header = len(one(qwen, ASK, "sat")[1]) - len(one(qwen, "", "sat")[1])
  rows = view([(ASK, f"sat {i}") for i in range(7)] + [("x", "y")])
  with pytest.raises(UserError, match=r"7 rows .*\(f:0, f:1, .*f:4, \.\.\.\)"):
    data.tokenize(rows, qwen, max_completion=header)
  found = data.tokenize(rows, qwen, max_completion=header, vanished="drop")
  assert found.sources == (("f:7",),)
  found = data.tokenize(rows, qwen, max_completion=header + 1)
  assert len(found) == 8
  with pytest.raises(UserError, match="no other row remains"):
    data.tokenize(
      view([(ASK, "sat")]), qwen, max_completion=header, vanished="drop"
    )


@pytest.mark.parametrize(
  ("prompt", "reply", "error"),
  [
    ((Message("system", "x"), *ASK), "y", "System role not supported"),
    ((*ASK, *ASK), "y", "of user, user: Roles must alternate"),
    ((Message("user", "\ufdd0"),), "y", r"U\+FDD0"),
    (ASK, "\ufdd1", r"U\+FDD0 or U\+FDD1"),
  ],
)
def test_what_cannot_be_encoded_is_named(make, prompt, reply, error):
  rows = [(ASK, f"sat {i}") for i in range(3)] + [(prompt, reply)]
  with pytest.raises(UserError, match=f"^f:3: .*{error}"):
    data.tokenize(view(rows), make(chat_cases.GEMMA))


def test_no_template_and_templates_of_other_names(make):
  with pytest.raises(UserError, match=r"no chat template for them; put a chat"):
    one(make(None), ASK, "y")
  named = [{"name": "rag", "template": "x"}]
  with pytest.raises(UserError, match="are named 'rag', none of them 'default"):
    one(make(None, chat_template=named), ASK, "y")


@pytest.mark.parametrize(
  "found",
  [
    chat_cases.CHATML,
    {"default": chat_cases.CHATML},
    [
      {"name": "tool_use", "template": "{{ x"},
      {"name": "default", "template": chat_cases.CHATML},
    ],
  ],
)
def test_where_templates_are_kept(make, chatml, found):
  tokenizer = make(None, chat_template=found)
  assert one(tokenizer, ASK, "y")[:2] == one(chatml, ASK, "y")[:2]
  both = make(chat_cases.CHATML, chat_template=PLAIN)
  assert one(both, ASK, "y")[:2] == one(chatml, ASK, "y")[:2]


@pytest.mark.parametrize(
  ("found", "error"),
  [
    ("{{ x", "chat template is not valid"),
    ([{"name": "default"}], "tokenizer_config.json: chat_template is neither"),
    ([1], "neither text nor a list"),
    (3, "neither text nor a list"),
  ],
)
def test_templates_that_are_none(make, found, error):
  with pytest.raises(UserError, match=error):
    make(None, chat_template=found)


def test_a_template_file_that_is_no_text(tmp_path):
  chat_cases.write(tmp_path, chat_cases.CHATML)
  (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
  with pytest.raises(UserError, match=r"chat_template.jinja is not text in"):
    Tokenizer.load(tmp_path)


def test_a_saved_tokenizer_keeps_its_template(qwen, tmp_path):
  qwen.save(tmp_path)
  again = Tokenizer.load(tmp_path)
  assert again.fingerprint == qwen.fingerprint
  assert one(again, ASK, "y")[:2] == one(qwen, ASK, "y")[:2]
  assert isinstance(again._backend, tokenizers.Tokenizer)
