"""The limit that is named keeps texts apart, and no lower one does."""

import chat_cases
import numpy as np
import pytest
import tokenizers
from tokenizers import processors

from offalign import data
from offalign.data import Message
from offalign.data.batches.least_limits import causes
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import render

BYTE = data.make_tokenizer("byte")


def encoder():
  """A tokenizer that puts tokens before and after a prompt's text."""
  backend = chat_cases.backend("bytes", bos=False)
  backend.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
  )
  return Tokenizer(backend, {"bos_token": "<s>", "eos_token": "</s>"})


def chatml(template=chat_cases.CHATML, *, bos=False):
  about = {"eos_token": "</s>", "chat_template": template}
  if bos:
    about["bos_token"] = "<s>"
  return Tokenizer(chat_cases.backend("bytes", bos=False), about)


def distinct(tokenizer, turns, **limits):
  """Distinct (prompt, completion) tokens under limits."""
  found = tokenizer.encode_rows(
    [prompt for prompt, _ in turns],
    [(i, text) for i, (_, text) in enumerate(turns)],
    **limits,
  )
  both = zip(found.prompts, found.completions, strict=True)
  return len({(x.tobytes(), y.tobytes()) for x, y in both})


def said(text):
  return (Message("user", text),)


WORDS = [
  ["one two three", "one two four", "one two", "one"],
  ["a" * 9 + x for x in ("", "b", "bc", "bcd")],
  ["the same end" + " of it" * k for k in range(4)],
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("tokenizer", [BYTE, encoder(), chatml()])
def test_completions(words, tokenizer):
  talk = tokenizer.has_template
  turns = [(said("x") if talk else "x", text) for text in words]
  found = causes(tokenizer, [turns, turns[:2]])
  assert (found.groups, found.cut_completions) == (2, 2)
  assert found.cut_prompts + found.template + found.tokenizer == 0
  least = found.max_completion
  assert distinct(tokenizer, turns, max_completion=least) == len(words)
  assert distinct(tokenizer, turns, max_completion=least - 1) < len(words)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
  "tokenizer",
  [BYTE, encoder(), chatml(), chatml("<s>" + chat_cases.CHATML, bos=True)],
)
def test_prompts(words, tokenizer):
  reverse = [text[::-1] for text in words]
  talk = tokenizer.has_template
  turns = [(said(text) if talk else text, "y") for text in reverse]
  found = causes(tokenizer, [turns])
  assert (found.groups, found.cut_prompts) == (1, 1)
  assert found.cut_completions + found.template + found.tokenizer == 0
  least = found.max_prompt
  assert distinct(tokenizer, turns, max_prompt=least) == len(words)
  assert distinct(tokenizer, turns, max_prompt=least - 1) < len(words)


@pytest.mark.parametrize(
  "tokenizer",
  [BYTE, encoder(), chatml(), chatml("<s>" + chat_cases.CHATML, bos=True)],
)
def test_a_prompt_that_is_cut_afterwards_is_the_same(tokenizer):
  prompt = "an opening and an end"
  asked = said(prompt) if tokenizer.has_template else prompt
  (whole,), _ = tokenizer.encode_prompts([asked])
  for limit in range(4, len(whole) + 2):
    (cut,), _ = tokenizer.encode_prompts([asked], limit)
    kept = tokenizer.cut_prompt(asked, whole, limit)
    np.testing.assert_array_equal(kept, cut)


def test_a_template_and_both_limits():
  trim = chat_cases.CHATML.replace("m['content']", "m['content'] | trim")
  tokenizer = chatml(trim)
  groups = [
    [(said("x"), "yes"), (said("x"), "yes ")],
    [(said("x"), "yes, it is"), (said("x"), "yes, it was")],
    [(said("long ago"), "a"), (said("so ago"), "a")],
  ]
  found = causes(tokenizer, groups)
  counts = found.template, found.cut_completions, found.cut_prompts
  assert (found.groups, counts, found.tokenizer) == (3, (1, 1, 1), 0)
  sentence = render(found.sentence(2, 3, is_sample=True))
  assert "max_completion=3 cuts off what differs in 1 of 3, and" in sentence
  assert "the chat template drops what differs in 1 of 3" in sentence
  assert sentence.endswith("told from the first 3")


def test_a_tokenizer_that_normalises():
  backend = chat_cases.backend("bytes", bos=False)
  backend.normalizer = tokenizers.normalizers.Lowercase()
  tokenizer = Tokenizer(backend, {"eos_token": "</s>"})
  found = causes(tokenizer, [[("x", "Yes"), ("x", "yes")]])
  assert found.sentence(None, None) == (
    "the tokenizer makes the same tokens of all of it, and no limit keeps it "
    "apart"
  )
