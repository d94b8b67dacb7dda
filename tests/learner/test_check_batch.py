"""What is refused before anything is computed."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import worlds

from offalign import losses, spec
from offalign.errors import UserError
from offalign.learner import LearnerConfig
from offalign.learner.check_batch import check_batch
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig


def flat(column):
  return column[:, 0]


def whole(column):
  return column.astype(np.int32)


@pytest.mark.parametrize(
  ("loss", "column", "change", "sentence"),
  [
    # [B] beside [B, 1] would become [B, B].
    ("dro_v", "rewards", flat, r"rewards must be of shape \[24, 1\]"),
    ("dpo", "ref_logps", flat, r"ref_logps must be of shape \[24, 2\]"),
    ("sft", "weight", lambda x: x[:, None], r"weight .* shape \[24\]"),
    ("sft", "prompt_mask", flat, "prompt_mask must be of shape"),
    ("sft", "completion_mask", flat, "completion_mask must be of shape"),
    # -1 for undesirable would count as desirable.
    ("kto", "labels", whole, "labels must be of type bool, not int32"),
    ("sft", "completion_mask", whole, "must be of type bool"),
    (
      "kto",
      "weight",
      lambda x: x * (np.arange(24) == 3),
      "a batch of 1 cannot",
    ),
  ],
)
def test_a_column_of_a_wrong_form_is_refused(loss, column, change, sentence):
  batch = worlds.batch(loss, padding=0)
  check_batch(losses.get(loss), batch)
  changed = {column: change(getattr(batch, column))}
  with pytest.raises(UserError, match=sentence):
    check_batch(losses.get(loss), dataclasses.replace(batch, **changed))


def test_columns_that_the_loss_does_not_need_are_left_alone():
  batch = worlds.batch("dpo")
  check_batch(
    losses.get("dpo"), dataclasses.replace(batch, rewards=None, labels=None)
  )


@pytest.mark.parametrize(
  ("config", "options", "sentence"),
  [
    (ValueConfig, {"network": "seperate"}, "one of separate, shared, encoder"),
    (ValueConfig, {"per": "row"}, "one of example, batch, token"),
    (OptimizerConfig, {"name": "sgd"}, "one of adam, adafactor"),
    (OptimizerConfig, {"schedule": "cosin"}, "one of constant, cosine"),
    (OptimizerConfig, {"learning_rate": float("nan")}, "must be finite"),
    (OptimizerConfig, {"clip_norm": -1.0}, "clip_norm must be 0 or above"),
    (OptimizerConfig, {"warmup_steps": -1}, "warmup_steps must be 0 or above"),
    (OptimizerConfig, {"weight_decay": -0.1}, "weight_decay must be 0 or"),
    (LearnerConfig, {"compute_dtype": "int8"}, "one of bfloat16, float32"),
    (LearnerConfig, {"microbatches": 0}, "microbatches must be at least 1"),
    (LearnerConfig, {"logp_chunk": 0}, "logp_chunk must be at least 1"),
    (LearnerConfig, {"steps": 0}, "steps must be at least 1"),
    (LearnerConfig, {"value": "shared"}, "value must be ValueConfig or None"),
  ],
)
def test_a_configuration_out_of_range_is_refused(config, options, sentence):
  with pytest.raises(UserError, match=sentence):
    config(**options)


@dataclasses.dataclass(frozen=True)
class Choice:
  word: Literal["a", "b"] | None = None


def test_a_choice_may_be_none():
  for word in ("a", None):
    spec.check_fields("choice", Choice(word))
  hints = {"word": Literal["a", "b"] | None}
  assert spec.choose("x", {"word": None}, hints, {"word": "b"}) == {"word": "b"}
  with pytest.raises(UserError, match="one of a, b or None"):
    spec.check_fields("choice", Choice("c"))
