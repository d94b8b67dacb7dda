"""The report of a pipeline."""

import json

import html_checks
import pytest

from offalign.config import Config
from offalign.config.config import flat
from offalign.training.pipelines import report
from offalign.training.pipelines.record import Known, Pipeline


@pytest.fixture
def found(tmp_path):
  folder = tmp_path / "1-sft"
  folder.mkdir()
  about = {
    "config": flat(Config(loss="sft")),
    "loss": "sft",
    "model": "tiny",
    "vocab_size": 5,
    "tokenizer": "bytes",
    "start": "new",
    "data": "some",
  }
  (folder / "run.json").write_text(json.dumps(about))
  lines = [
    {"step": 0, "eval_loss": 2.0},
    {"step": 1, "loss": 1.5},
    {"step": 2, "eval_loss": 1.25},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / "metrics.jsonl").write_text(text)
  return Pipeline(
    tmp_path,
    "rlhf",
    [
      Known("1-sft", "offalign train --cfg.loss=sft", {}, "done"),
      Known("2-ppo", "offalign train --cfg.loss='ppo(lam=1)'", {}),
    ],
  )


def test_the_text_has_each_stage_with_its_figures_and_command(found):
  report.write(found)
  text = (found.folder / report.TEXT).read_text()
  assert "1 of 2 stages done" in text
  first, second = text.splitlines()[3:5]
  assert first.split() == (
    ["1-sft", "sft", "0", "–", "held-out", "loss", "2", "->", "1.25"]
  )
  assert second.split() == ["2-ppo", "–", "0", "–", "waiting"]
  assert text.endswith(
    "offalign train --cfg.loss=sft\noffalign train --cfg.loss='ppo(lam=1)'\n"
  )


def test_the_page_has_them_too_with_curves_and_escapes(found):
  found.note(1, "failed", "a <b>bad</b> row")
  page = report.page(found, report.summarise(found))
  html_checks.check(page)
  assert "failed: a &lt;b&gt;bad&lt;/b&gt; row" in page
  assert "Loss by step." in page
  assert page == report.page(found, report.summarise(found))
