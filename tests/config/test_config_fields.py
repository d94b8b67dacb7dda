"""The configuration of a run checks the types of its fields."""

import pytest

from offalign.config import Config, DataConfig
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError


@pytest.mark.parametrize(
  ("make", "sentence"),
  [
    (
      lambda: Config(steps="3"),
      "steps must be a whole number or None, not '3'",
    ),
    (lambda: Config(packing=1), "packing must be True or False, not 1"),
    (
      lambda: Config(compute_dtype="float16"),
      "compute_dtype must be one of float32, bfloat16, not 'float16'",
    ),
    (lambda: Config(data="log.jsonl"), "data must be DataConfig"),
    (lambda: Config(lora=3), "lora must be LoraConfig or None, not 3"),
    (lambda: DataConfig(path=None), "data.path must be str, not None"),
    (
      lambda: DataConfig(pairs="al"),
      "data.pairs must be one of all, best_worst",
    ),
    (lambda: DataConfig(eval_fraction="0.1"), "must be a number or None"),
    (lambda: MeshConfig(fsdp=2.0), "mesh.fsdp must be a whole number"),
  ],
)
def test_a_wrong_type_is_named(make, sentence):
  with pytest.raises(UserError, match=sentence):
    make()


def test_whole_numbers_are_numbers():
  assert DataConfig(eval_fraction=0, min_margin=1).eval_fraction == 0
