"""Token ids of config.json and generation_config.json."""

import json

import pytest

from offalign.errors import UserError
from offalign.models.hf.token_settings import (
  TokenIds,
  read_generation,
  write_generation,
)

OWN = TokenIds(ends=(1, 3), pad=0, bos=2, foreign=False)
FOREIGN = TokenIds(ends=(1,), pad=0, bos=None, foreign=True, start=4)


def test_one_end_is_an_id_and_several_are_a_list():
  assert OWN.eos == [1, 3]
  assert FOREIGN.eos == 1


def test_other_ids_stay_where_the_vocabulary_does():
  config = {"eos_token_id": 9, "bos_token_id": 8, "suppress_tokens": [5]}
  assert OWN.put(config) == {
    "eos_token_id": [1, 3],
    "bos_token_id": 8,
    "suppress_tokens": [5],
    "pad_token_id": 0,
  }
  assert FOREIGN.put(config | {"top_k": 3, "decoder_start_token_id": 9}) == {
    "eos_token_id": 1,
    "pad_token_id": 0,
    "decoder_start_token_id": 4,
    "top_k": 3,
  }
  assert config["eos_token_id"] == 9


def test_without_a_file_the_config_counts(tmp_path):
  config = {"hidden_size": 3, "bos_token_id": 2, "top_p": None, "top_k": 3}
  made = read_generation(tmp_path, config)
  assert made == {"bos_token_id": 2, "top_k": 3}
  write_generation(tmp_path, made, OWN)
  again = read_generation(tmp_path, config)
  assert again == made | {"eos_token_id": [1, 3], "pad_token_id": 0}


def test_a_file_counts_alone(tmp_path):
  file = tmp_path / "generation_config.json"
  file.write_text(json.dumps({"_from_model_config": True, "top_p": 0.5}))
  assert read_generation(tmp_path, {"top_k": 3}) == {"top_p": 0.5}


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_no_json_object_is_refused(tmp_path, text):
  (tmp_path / "generation_config.json").write_text(text)
  with pytest.raises(UserError, match=r"generation_config\.json"):
    read_generation(tmp_path, {})
