"""The base of TIES: of policies and of reward models."""

import merges
import numpy as np
import pytest
import runs

from offalign.errors import UserError
from offalign.policy.merging.base import Base
from offalign.policy.merging.sources import Source

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


def test_a_reward_model_is_counted_from_a_policy_and_a_head_of_0(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl", prompts=8)
  given = {"loss": "bradley_terry"}
  models = [
    Source(merges.write(log, tmp_path / f"r{i}", i, **given), "newest")
    for i in (1, 2)
  ]
  policy = merges.write(log, tmp_path / "p")
  inner, head = ("head", "kernel"), ("value", "head", "kernel")
  expected = merges.weights(policy)[inner]
  for base in (Base(None, models), Base(policy, models)):
    for trunk in (("policy",), ("value", "trunk")):
      found = base.read((*trunk, *inner), expected.shape)
      np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(base.read(head, (16,)), np.zeros(16))
  # A reward model as the base is counted from as it is.
  own = Base(models[0].folder, models)
  np.testing.assert_array_equal(own.read(head, (16,)), models[0].read(head))
  other = merges.write(log, tmp_path / "o", seed=5, **given)
  with pytest.raises(UserError, match="needs one base for all runs"):
    Base(None, [models[0], Source(other, "newest")])
  wide = "decoder(width=8, layers=1, heads=2)"
  with pytest.raises(UserError, match="is of another network or tokenizer"):
    Base(merges.write(log, tmp_path / "w", model=wide), models)
