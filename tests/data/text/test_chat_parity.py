"""Conversations as text and tokens, equal to transformers'."""

import inspect

import chat_cases
import numpy as np
import pytest

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
  assert prompt == ids_of(theirs, turns, add_generation_prompt=True)
  expected = ids_of(theirs, whole)
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
  prompt, completion, _ = encode(ours, turns, reply)
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
