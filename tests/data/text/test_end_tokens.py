"""End tokens that a model's own files name beside its tokenizer."""

import json

import pytest
from tiny_folders import END, EOS, TEMPLATE, change_json, write_tokenizer

from offalign.data import Tokenizer
from offalign.data.text import end_tokens
from offalign.errors import UserError


def ends(folder):
  return Tokenizer.load(folder).end_ids


@pytest.mark.parametrize(
  ("generation", "config", "expected"),
  [
    (None, None, (1,)),
    (9, None, (1, 9)),
    ([9, 1, 8], None, (1, 9, 8)),
    (None, [7], (1, 7)),
    ([9], 7, (1, 9, 7)),
    (1, [1], (1,)),
    # Of no token: a default of the model's configuration.
    (50256, [2**70, 9], (1, 9)),
    ([], None, (1,)),
  ],
)
def test_all_files_are_read(tmp_path, generation, config, expected):
  write_tokenizer(tmp_path)
  before = Tokenizer.load(tmp_path).fingerprint
  if generation is not None:
    change_json(tmp_path / "generation_config.json", eos_token_id=generation)
  if config is not None:
    change_json(tmp_path / "config.json", eos_token_id=config)
  tokenizer = Tokenizer.load(tmp_path)
  assert (tokenizer.end_ids, tokenizer.eos_id) == (expected, 1)
  # What names nothing more is the same tokenizer as before.
  assert (tokenizer.fingerprint == before) == (expected == (1,))
  tokenizer.save(tmp_path / "kept")
  kept = Tokenizer.load(tmp_path / "kept")
  assert kept.end_ids == expected
  assert kept.fingerprint == tokenizer.fingerprint


def test_the_end_of_a_turn_is_one_too(tmp_path):
  write_tokenizer(tmp_path, template=TEMPLATE)
  assert ends(tmp_path) == (1, 3)
  change_json(tmp_path / "generation_config.json", eos_token_id=[3, 9])
  assert ends(tmp_path) == (1, 3, 9)


@pytest.mark.parametrize("given", ["2", True, -1, 2.0, [1, None], {"a": 1}])
@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_other_values_are_refused_by_file(tmp_path, name, given):
  write_tokenizer(tmp_path)
  change_json(tmp_path / name, eos_token_id=given)
  with pytest.raises(UserError, match=rf"{name}: eos_token_id is .* belongs"):
    Tokenizer.load(tmp_path)


def test_a_tokenizer_that_names_none_takes_the_models(tmp_path):
  write_tokenizer(tmp_path)
  file = tmp_path / "tokenizer_config.json"
  file.write_text("{}")
  with pytest.raises(UserError, match="names no end-of-sequence token"):
    Tokenizer.load(tmp_path)
  change_json(tmp_path / "generation_config.json", eos_token_id=[3, 1])
  tokenizer = Tokenizer.load(tmp_path)
  assert (tokenizer.eos_id, tokenizer.end_ids) == (3, (3, 1))


def test_decoded_text_ends_before_whichever_end_comes_first(tmp_path):
  write_tokenizer(tmp_path, template=TEMPLATE)
  change_json(tmp_path / "generation_config.json", eos_token_id=[9, 1])
  tokenizer = Tokenizer.load(tmp_path)
  (hello,) = tokenizer.encode(["Hello"])
  for end in (1, 3, 9):
    assert tokenizer.decode([*hello, end, *hello]) == "Hello"
    assert tokenizer.decode([*hello, end]) == "Hello"
  assert tokenizer.decode(hello) == "Hello"


def test_text_that_spells_an_end_ends_nothing(tmp_path):
  write_tokenizer(tmp_path)
  file = tmp_path / "tokenizer.json"
  raw = json.loads(file.read_text())
  for token in raw["added_tokens"]:
    token["special"] = token["content"] == EOS
  file.write_text(json.dumps(raw))
  change_json(tmp_path / "generation_config.json", eos_token_id=3)
  tokenizer = Tokenizer.load(tmp_path)
  (ids,) = tokenizer.encode([f"a{END}b"])
  assert 3 not in ids
  assert tokenizer.decode(ids) == f"a{END}b"


def test_ids_of_the_vocabulary_alone(tmp_path):
  write_tokenizer(tmp_path)
  backend = Tokenizer.load(tmp_path)._backend
  assert end_tokens.known(backend, (0, 5, 259, 260, 10**6)) == (0, 5, 259)
  assert end_tokens.added(backend, (0, 3, 5)) == ["<|pad|>", END]
