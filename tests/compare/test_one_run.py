"""The page of one run: what it shows, and what it says it cannot."""

import json
import shutil

import html_checks
import pytest
import rounds
import runs

from offalign.compare.one_run import describe_run
from offalign.errors import UserError
from offalign.generation import completions

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


def show(run, out, **options):
  path = describe_run(run, out=out, verbose=False, **options)
  return html_checks.check(path.read_text(encoding="utf-8"))


def test_curves_and_six_prompts_before_and_after(world, tmp_path):
  out = tmp_path / "out"
  page = show(world / "dro", out, prompts=world / "test.jsonl")
  assert page.tags["article"] == 6
  assert page.tags["svg"] >= 2 * 3  # loss, accuracy and nats, in two widths
  assert page.text.count("before") >= 6
  assert "not KL(pi || ref)" in page.text
  before = completions.read(out / "completions" / "sft.jsonl")
  after = completions.read(out / "completions" / "dro.jsonl")
  assert before.prompts == after.prompts
  # As many as the texts that a page may show: control characters are not.
  for each in (before, after):
    assert len(each.texts) == 6
    for text in each.texts:
      if text.isascii() and text.isprintable():
        assert text in page.text


def test_a_run_of_random_weights_has_no_before(world, tmp_path):
  page = show(world / "sft", tmp_path / "out", prompts=world / "test.jsonl")
  assert page.tags["article"] == 6
  assert "began with random weights" in page.text
  assert "Before and after" not in page.text


def test_without_prompts_there_are_curves_and_a_sentence(world, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(world / "sft", folder)
  (folder / "held_out.jsonl").unlink(missing_ok=True)
  page = show(folder, tmp_path / "out")
  assert page.tags["article"] == 0
  assert "no prompts are completed here" in page.text


def test_held_out_prompts_are_taken(world, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(world / "sft", folder)
  runs.write(folder / "held_out.jsonl", [{"prompt": "held out?"}])
  page = show(folder, tmp_path / "out")
  assert page.tags["article"] == 1
  assert "held out?" in page.text


def test_a_parent_that_changed_is_not_shown_as_before(world, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(world / "dro", folder)
  about = json.loads((folder / "run.json").read_text())
  about["start"] = about["start"][:-8] + "00000000"
  (folder / "run.json").write_text(json.dumps(about))
  page = show(folder, tmp_path / "out", prompts=world / "test.jsonl")
  assert "has been trained anew since" in page.text
  assert "Before and after" not in page.text


def test_a_run_in_rounds_shows_its_scores_and_its_distance(tmp_path):
  run = rounds.train(tmp_path / "run", "rebel(eta=1.0)", grow={"samples": 2})
  page = show(run.folder, tmp_path / "out")
  assert "Scores of what the policy writes, in rounds." in page.text
  assert "KL from the reference on what the policy writes." in page.text
  assert "held-out prompts" in page.text


def test_what_is_no_run_is_refused(tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    describe_run(tmp_path / "none", out=tmp_path / "out")
