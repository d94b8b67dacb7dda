"""The sentiment suite from end to end, on random weights."""

import html_checks
import pytest
import talkers

from benchmarks.sentiment import (
  folder,
  report,
  results,
  scores,
  sizes,
  suite,
  training,
)
from offalign import Policy
from offalign.errors import UserError

CELL = sizes.CELLS[0]
pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


@pytest.fixture
def task(tmp_path, monkeypatch):
  """A suite of one cell: two rates and two seeds."""
  monkeypatch.setattr(suite, "CELLS", (CELL,))
  monkeypatch.setattr(results, "CELLS", (CELL,))
  small = sizes.Sizes(**vars(sizes.TINY) | {"lora": (1e-4, 1e-3)})
  model = talkers.write_lively(tmp_path / "model")
  found = folder.Folder(tmp_path / "out")
  found.begin(small, "command")
  base = Policy.load(model)
  return training.Task(found, str(model), base, small, scores.vowels)


def test_a_suite_that_is_stopped_goes_on_run_by_run(task, monkeypatch):
  final, calls = training.final, []

  def stops(task, cell, rate, seed):
    calls.append(seed)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return final(task, cell, rate, seed)

  monkeypatch.setattr(training, "final", stops)
  with pytest.raises(KeyboardInterrupt):
    suite.run(task)
  files = {
    path: path.read_bytes()
    for path in task.folder.path.glob("*/*.jsonl")
    if path.parent.name != "work"
  }
  found = results.read(task.folder)
  assert found.missing == ["KTO, LoRA: 1 of 2 seeds have been run."]
  assert "1 of 2 seeds" in report.write(task.folder)

  suite.run(task)
  assert calls == [0, 1, 1]
  assert all(path.read_bytes() == before for path, before in files.items())
  assert [(r.label, r.seed) for r in task.folder.rows()] == [
    ("KTO, LoRA", 0),
    ("KTO, LoRA", 1),
  ]
  rates = [r.metrics["rate"] for r in task.folder.rows(sweep=True)]
  assert rates == [1e-4, 1e-3]
  assert not list(task.folder.work.glob("kto*"))
  suite.run(task)
  assert calls == [0, 1, 1]
  _check_figures(task)
  _check_report(task)


def _check_figures(task):
  found = results.read(task.folder)
  assert found.missing == []
  (one,) = found.outcomes
  own = [each.reward for run in one.written for each in run]
  base = [each.reward for draw in found.bases for each in draw]
  assert one.mean == pytest.approx(sum(own) / len(own))
  assert one.gain.mean == pytest.approx(one.mean - sum(base) / len(base))
  gains = [row.metrics["reward_gain"] for row in one.rows]
  assert sum(gains) / 2 == pytest.approx(one.gain.mean)
  ratios = [
    each.log_ratio
    for run in one.written
    for each in run
    if each.log_ratio is not None
  ]
  assert len(ratios) == 2 * task.sizes.kl
  assert one.kl[0] == pytest.approx(sum(ratios) / len(ratios))
  if one.reload is not None:
    assert one.reload < 1e-2


def _check_report(task):
  said = report.write(task.folder)
  assert said == (task.folder.path / "report.md").read_text()
  assert "| KTO, LoRA | " in said
  assert "What is missing" not in said
  page = (task.folder.path / "report.html").read_text()
  parsed = html_checks.Page(page)
  assert not parsed.mistakes
  assert len(parsed.ids) == len(set(parsed.ids))
  assert "KTO, LoRA" in parsed.text
  opening = results.read(task.folder).bases[0][0].prompt
  assert opening in said
  assert opening in parsed.text


def test_other_sizes_and_other_files_are_refused(task, tmp_path):
  task.folder.begin(task.sizes, "again")
  with pytest.raises(UserError, match="other sizes"):
    task.folder.begin(sizes.TINY, "command")
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="other files"):
    folder.Folder(tmp_path / "full").begin(task.sizes, "command")


def test_a_rate_that_diverges_is_a_row_and_is_not_chosen(task, monkeypatch):
  def diverges(task, cell, rate, seed):
    raise training.NonFinite("the loss is nan")

  monkeypatch.setattr(training, "train", diverges)
  suite.run(task)
  swept = task.folder.rows(sweep=True)
  assert [row.error for row in swept] == ["the loss is nan"] * 2
  assert task.folder.rows() == []
  found = results.read(task.folder)
  assert "no rate kept the policy near" in found.missing[0]
  assert "failed" in report.write(task.folder)
