"""What a run folder that was begun before has to be, and what it owes."""

import json

import pytest

from offalign.config import Config
from offalign.errors import UserError
from offalign.training import resuming

ABOUT = {
  "model": "m",
  "vocab_size": 5,
  "tokenizer": "t",
  "start": "s",
  "data": "d",
}


@pytest.mark.parametrize("key", [*ABOUT, "reference", "demonstrations"])
def test_a_folder_begun_with_other_files_is_refused(key, tmp_path):
  now = {**ABOUT, "reference": "s", "demonstrations": None}
  resuming.refuse_other_files(tmp_path, ABOUT, now)
  with pytest.raises(UserError, match=r"was begun with .*, now x"):
    resuming.refuse_other_files(tmp_path, ABOUT, {**now, key: "x"})


def test_an_evaluation_that_was_not_logged_is_owed(tmp_path):
  config = Config(steps=4, eval_every=2)
  lines = [{"step": 2, "eval_loss": 1.0}, {"step": 4, "loss": 1.0}]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "metrics.jsonl").write_text(text)

  def owes(step, *, is_held=True):
    return resuming.owes_evaluation(tmp_path, config, step, is_held=is_held)

  assert [step for step in range(5) if owes(step)] == [0, 4]
  assert not owes(4, is_held=False)
  assert resuming.finished(tmp_path, config, 3, None) is None
  assert "is at step 4 of 4" in resuming.finished(tmp_path, config, 4, None)
