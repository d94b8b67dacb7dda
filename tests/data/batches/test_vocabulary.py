"""A tokenizer may have entries that the model lacks, where no data use them."""

import dataclasses

import numpy as np
import pytest

from offalign.data import Row, Tokenizer, View, tokenize
from offalign.data.batches import vocabulary
from offalign.data.views.view import ViewSummary
from offalign.errors import UserError
from offalign.types import Kind

TOKENIZER = Tokenizer.byte()
Z = int(TOKENIZER.encode(["z"])[0][0])
BIGGEST = max(*TOKENIZER.end_ids, TOKENIZER.pad_id)


def rows(*texts):
  made = tuple(
    Row(prompt, (text,), None, None, (f"log:{i}",))
    for i, (prompt, text) in enumerate(texts, start=1)
  )
  view = View(Kind.SINGLE, made, ViewSummary({"rows": len(made)}, ()))
  return tokenize(view, TOKENIZER)


def check(made, size):
  vocabulary.check_rows(made, TOKENIZER, size, "tiny")


def test_entries_that_no_row_uses_do_no_harm():
  made = rows(("a", "b"), ("c", "d"))
  assert TOKENIZER.vocab_size > Z
  check(made, Z)
  vocabulary.check_tokenizer(TOKENIZER, BIGGEST + 1, "tiny")


@pytest.mark.parametrize(
  "texts", [(("a", "b"), ("a", "cz")), (("a", "b"), ("az", "b"))]
)
def test_the_row_and_the_token_are_named(texts):
  with pytest.raises(
    UserError,
    match=rf"^log:2: the tokenizer makes token {Z} \('z'\), and tiny has a "
    rf"vocabulary of {Z} tokens: give the tokenizer that the model was made",
  ):
    check(rows(*texts), Z)
  check(rows(*texts), Z + 1)


def test_sequences_that_no_row_has_any_more_do_not_count():
  made = rows(("a", "b"), ("a", "z"))
  check(made.take(np.array([0])), Z)
  with pytest.raises(UserError, match="log:2"):
    check(dataclasses.replace(made).take(np.array([1])), Z)


def test_the_end_has_to_be_a_token_of_the_model():
  with pytest.raises(UserError, match=f"makes token {BIGGEST} "):
    vocabulary.check_tokenizer(TOKENIZER, BIGGEST, "tiny")


def test_tokens_of_prompts():
  vocabulary.check_tokens(np.array([[1, Z]]), TOKENIZER, Z + 1, "tiny")
  with pytest.raises(UserError, match=f"^the tokenizer makes token {Z} "):
    vocabulary.check_tokens(np.array([[1, Z]]), TOKENIZER, Z, "tiny")
