"""pipeline.json."""

import pytest

from offalign.errors import UserError
from offalign.training.pipelines import record
from offalign.training.pipelines.record import Known


def known(name, steps=4):
  return Known(name, f"offalign train --cfg.steps={steps}", {"steps": steps})


def test_what_is_done_stays_done_while_its_options_stay(tmp_path):
  stages = [known("1-sft"), known("2-dpo")]
  made = record.begin(tmp_path, "iterated_dpo", stages)
  made.note(0, "done")
  assert made.done == ["1-sft"]
  assert made.last == tmp_path / "2-dpo"
  again = record.begin(tmp_path, "iterated_dpo", stages)
  assert again.stages == made.stages
  other = record.begin(tmp_path, "iterated_dpo", [known("1-sft", 5), stages[1]])
  assert other.done == []


def test_another_pipeline_in_the_folder_is_refused(tmp_path):
  record.begin(tmp_path, "rlhf", [known("1-sft")]).write()
  with pytest.raises(UserError, match=r"holds pipeline rlhf \(1-sft\)"):
    record.begin(tmp_path, "rest", [known("1-sft")])


@pytest.mark.parametrize("text", ['{"pipeline": 1}', "[]", '{"stages": 3'])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
  (tmp_path / record.FILE).write_text(text)
  with pytest.raises(UserError, match=r"pipeline\.json.*put the file back"):
    record.read(tmp_path)
