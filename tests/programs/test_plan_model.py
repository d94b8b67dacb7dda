"""Which model a planned run trains."""

import json

import pytest
from plans import TINY

from offalign.config import Config
from offalign.errors import UserError
from offalign.programs.plan_model import model_of


@pytest.mark.parametrize(
  ("options", "spec", "size"),
  [
    ({"model": "decoder(width=8, heads=2)"}, "decoder(width=8, heads=2)", 8192),
    ({"model": "t5", "tokenizer_vocab": 300}, "t5", 300),
    ({"tokenizer": "byte"}, "decoder", 262),
    (
      {"model": "meta-llama/Meta-Llama-3-8B"},
      "hf:meta-llama/Meta-Llama-3-8B",
      128_256,
    ),
  ],
)
def test_a_model_is_new_or_published(options, spec, size):
  model = model_of(Config(**options))
  assert model.spec == spec
  assert model.vocab_size == size


def test_keys_that_are_ignored_are_ignored(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(TINY | {"odd": 3}))
  with pytest.raises(UserError, match="odd"):
    model_of(Config(model=str(tmp_path)))
  ignoring = Config(model=str(tmp_path), model_ignore="odd")
  assert model_of(ignoring).vocab_size == TINY["vocab_size"]


@pytest.mark.parametrize(
  ("options", "why"),
  [
    ({"model": "decoder(widht=8)"}, "widht"),
    ({"model": "decodr"}, "no such folder"),
    ({"model": "decoder", "model_ignore": "x"}, "model_ignore=x is for a"),
    ({"init": "nowhere"}, "init=nowhere is not a run folder"),
    ({"model": "google/flan-t5-xl", "init": "no"}, "init=no is not a run"),
    ({"init_step": "3"}, "init_step=3 is set without init"),
    ({"model": "decoder", "tokenizer": "nope"}, "^tokenizer: "),
    (
      {"tokenizer": "byte", "tokenizer_vocab": 300},
      "tokenizer_vocab is set, but only tokenizer 'bpe' is trained",
    ),
  ],
)
def test_what_training_would_refuse_is_refused(options, why):
  with pytest.raises(UserError, match=why):
    model_of(Config(**options))
