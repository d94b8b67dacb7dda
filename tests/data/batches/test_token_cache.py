"""Tokens kept on disk, found again by what they were made of."""

import dataclasses

import chat_cases
import numpy as np
import pytest

from offalign import data
from offalign.data import Message, Tokenizer
from offalign.data.batches import token_cache
from offalign.data.reading.whole_message import WholeMessage
from offalign.errors import UserError
from offalign.types import Kind

BYTE = data.make_tokenizer("byte")
ROWS = [("the cat", "sat"), ((Message("user", "x"),), "y"), ("the cat", "")]


def tokenize(folder, rows=ROWS, tokenizer=BYTE, **options):
  records = [
    data.Record(x, (y,), None, None, False, f"f:{i}")
    for i, (x, y) in enumerate(rows)
  ]
  view = data.view(records, Kind.SINGLE)
  return data.tokenize(view, tokenizer, cache=folder, **options)


def files(folder):
  return sorted(folder.iterdir())


def same(a, b):
  assert a.keys() == b.keys()
  assert a.sources == b.sources
  for name in ("prompts", "completions"):
    one, other = getattr(a, name), getattr(b, name)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.offsets, other.offsets)


def test_what_was_tokenised_is_read(tmp_path, monkeypatch):
  options = {"max_prompt": 4, "max_completion": 2}
  folder = tmp_path / "a" / "b"
  fresh = tokenize(None, **options)
  first = tokenize(folder, **options)
  (file,) = files(folder)
  monkeypatch.setattr(Tokenizer, "encode_rows", None)
  again = tokenize(folder, **options)
  same(fresh, first)
  same(fresh, again)
  assert first.summary == fresh.summary
  assert again.summary == (*fresh.summary, f"tokens read from {file}")
  assert any("cut to the last 4" in s for s in again.summary)
  assert files(folder) == [file]


@pytest.mark.parametrize(
  ("rows", "options"),
  [
    ([("the cat", "saT"), *ROWS[1:]], {}),
    ([("the caT", "sat"), *ROWS[1:]], {}),
    ([ROWS[0], ((Message("user", "X"),), "y"), ROWS[2]], {}),
    ([ROWS[0], ((Message("system", "x"),), "y"), ROWS[2]], {}),
    ([("the cats", "at"), *ROWS[1:]], {}),
    (ROWS[::-1], {}),
    (ROWS, {"max_prompt": 5}),
    (ROWS, {"max_completion": 5}),
    (ROWS, {"tokenizer": data.make_tokenizer("bpe", ["x"], 262)}),
  ],
)
def test_any_difference_is_another_entry(tmp_path, rows, options):
  tokenize(tmp_path)
  found = tokenize(tmp_path, rows, **options)
  assert len(files(tmp_path)) == 2
  same(found, tokenize(None, rows, **options))


def test_a_template_and_its_date_are_part_of_the_key(tmp_path, monkeypatch):
  rows = [(ROWS[1][0], "y")]
  cache = tmp_path / "cache"
  for i, template in enumerate(["", " ", "{{ strftime_now('%S%f') }}"]):
    folder = chat_cases.write(tmp_path / str(i), template + chat_cases.CHATML)
    tokenizer = Tokenizer.load(folder)
    tokenize(cache, rows, tokenizer)
    tokenize(cache, rows, tokenizer)
  # The last writes another time each time.
  assert len(files(cache)) == 4


@pytest.mark.parametrize(
  "damage",
  [
    lambda content: content[: len(content) // 2],
    lambda content: b"",
    lambda content: b"not a file of arrays",
    lambda content: content.replace(b"sentences", b"Sentences"),
  ],
)
def test_a_damaged_entry_is_made_anew_and_said(tmp_path, damage):
  fresh = tokenize(tmp_path)
  (file,) = files(tmp_path)
  content = file.read_bytes()
  assert damage(content) != content
  file.write_bytes(damage(content))
  found = tokenize(tmp_path)
  same(found, fresh)
  assert found.summary[-1].startswith(f"note: {file} is damaged (")
  assert found.summary[-1].endswith("); tokenised anew")
  assert file.read_bytes() == content
  assert tokenize(tmp_path).summary[-1] == f"tokens read from {file}"


def test_any_flipped_byte_of_the_tokens_is_noticed(tmp_path):
  tokenize(tmp_path)
  (file,) = files(tmp_path)
  content = bytearray(file.read_bytes())
  tokens = tokenize(None).completions.tokens.tobytes()
  content[content.find(tokens)] ^= 1
  file.write_bytes(content)
  assert "is damaged" in tokenize(tmp_path).summary[-1]


def test_another_entry_under_this_name_is_noticed(tmp_path):
  tokenize(tmp_path)
  (file,) = files(tmp_path)
  other = tmp_path / "other"
  tokenize(other, ROWS[:1])
  files(other)[0].replace(file)
  other.rmdir()
  found = tokenize(tmp_path)
  same(found, tokenize(None))
  assert "holds other tokens" in found.summary[-1]


def test_writing_that_fails_leaves_nothing(tmp_path, monkeypatch):
  def full(file, **arrays):
    file.write(b"half")
    raise OSError("No space left on device")

  monkeypatch.setattr(token_cache.np, "savez", full)
  with pytest.raises(UserError, match=r"cannot be written: No space left"):
    tokenize(tmp_path)
  assert files(tmp_path) == []


def test_a_folder_that_is_a_file_is_refused_before_work(tmp_path, monkeypatch):
  file = tmp_path / "file"
  file.write_text("x")
  monkeypatch.setattr(Tokenizer, "encode_rows", None)
  with pytest.raises(UserError, match=r"cache of tokens, .*file, cannot be"):
    tokenize(file)


def test_vanished_completions_are_remembered(tmp_path):
  tokenizer = Tokenizer.load(chat_cases.write(tmp_path / "t", chat_cases.GEMMA))
  rows = [(ROWS[1][0], "sat"), (ROWS[1][0], "\n")]
  cache = tmp_path / "cache"
  for _ in range(2):
    with pytest.raises(UserError, match=r"^1 row .*\(f:1\)"):
      tokenize(cache, rows, tokenizer)
  kept = [
    tokenize(folder, rows, tokenizer, vanished="drop")
    for folder in (cache, None)
  ]
  same(*kept)
  assert kept[0].sources == (("f:0",),)
  assert dataclasses.replace(kept[0], summary=()).weight.tolist() == [1.0]


def test_a_whole_message_and_a_text_of_its_letters_are_kept_apart(tmp_path):
  chat_cases.write(tmp_path / "t", chat_cases.THINKING)
  tokenizer = Tokenizer.load(tmp_path / "t")
  whole = WholeMessage.of("a", {"reasoning_content": "b"})
  ask = (Message("user", "x"),)
  turns = [
    (ask, whole),
    (ask, str(whole)),
    ((*ask, Message("assistant", whole), *ask), "y"),
    ((*ask, Message("assistant", str(whole)), *ask), "y"),
  ]
  for rows in ([turn] for turn in turns):
    fresh = tokenize(None, rows, tokenizer)
    same(fresh, tokenize(tmp_path / "cache", rows, tokenizer))
    same(fresh, tokenize(tmp_path / "cache", rows, tokenizer))
  assert len(files(tmp_path / "cache")) == len(turns)
  both = tokenize(None, turns[:2], tokenizer)
  assert len(both.completions) == 2
