"""Checkpoints read a tensor at a time, against what a whole restore gives."""

import merges
import numpy as np
import pytest
import runs

from offalign.errors import UserError
from offalign.models.lora import LoraConfig
from offalign.policy.merging.sources import Source

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=3)])
def test_the_tensors_are_those_of_a_whole_restore(tmp_path, lora):
  log = runs.write_log(tmp_path / "log.jsonl", prompts=8)
  folder = merges.write(log, tmp_path / "run", noise=1, lora=lora)
  source, whole = Source(folder, "newest"), merges.weights(folder)
  assert source.has_adapters == (lora is not None)
  assert source.names() == {("policy", *k): v.shape for k, v in whole.items()}
  before = source.digest
  for name, x in whole.items():
    found = source.read(("policy", *name))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, x, rtol=1e-6, atol=1e-7)
  after = source.digest
  assert after != before
  source.begin()
  assert source.digest == before


def test_what_is_no_run_is_refused(tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    Source(tmp_path, "newest")
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(UserError, match="is a model folder and no run"):
    Source(tmp_path, "newest")
