"""Two small runs, one from the other, that several files compare."""

import jax
import pytest
import runs

SCORE = """
def score(prompt, completion):
  return sum(map(ord, completion)) % 7
"""
_DEVICES = jax.devices


@pytest.fixture(scope="session")
def world(tmp_path_factory):
  """A folder with sft, dro that started from it, test.jsonl, my_score.py."""
  folder = tmp_path_factory.mktemp("compare")
  (folder / "my_score.py").write_text(SCORE)
  prompts = [{"prompt": f"is {i} odd?"} for i in range(9)]
  runs.write(folder / "test.jsonl", prompts)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      "offalign.distributed.sharding.jax.devices", lambda: _DEVICES()[:1]
    )
    log = runs.write_log(folder / "log.jsonl")
    sft = folder / "sft"
    runs.train(log, sft, loss="sft")
    more = {"init": str(sft), "model": None, "tokenizer": None, "seed": 1}
    runs.train(log, folder / "dro", loss="dro_v", **more)
  return folder
