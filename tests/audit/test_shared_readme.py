"""The audit's numbers against those of the shared data's README."""

import collections
import re

import pytest

from offalign.audit import AuditConfig, audit

FILES = (
  "alpaca_eval/krated_test.parquet",
  "alpaca_eval/label_test.parquet",
  "alpaca_eval/pairs_test.parquet",
  "alpaca_eval/traj_val.parquet",
  "gsm8k/krated_train.parquet",
  "gsm8k/label_val.jsonl.gz",
  "gsm8k/sft_val.jsonl",
  "gsm8k/traj_train.jsonl.gz",
  "hh_harmless/pairs_train.parquet",
  "hh_harmless/pairs_val.parquet",
  "qa_feedback/krated_train.jsonl.gz",
  "qa_feedback/pairs_val.parquet",
  "self_instruct_seed/sft.jsonl",
)


def number(text):
  return float(text.replace(",", ""))


@pytest.fixture(scope="module")
def reports(shared_data):
  config = AuditConfig(methods=False)
  return {name: audit(str(shared_data / name), config) for name in FILES}


@pytest.fixture(scope="module")
def readme(shared_data):
  text = (shared_data / "README.md").read_text(encoding="utf-8")
  blocks = re.findall(r"\*\*`(\S+)`\*\* *\n(.*?)\nsha256", text, re.DOTALL)
  return dict(blocks)


@pytest.mark.parametrize("name", FILES)
def test_numbers_agree(reports, readme, name):
  report, said = reports[name], readme[name]
  measures = report.measures
  rows, prompts = re.match(r"([\d,]+) rows, ([\d,]+) distinct", said).groups()
  assert report.scan.rows == number(rows)
  assert measures.groups.prompts == number(prompts)
  words = re.findall(
    r"(prompt|completion|chosen|rejected) ([\d.]+) / (\d+) / (\d+)", said
  )
  assert [w[0] for w in words] == [s.name for s in measures.words]
  for (_, *figures), spread in zip(words, measures.words, strict=True):
    found = [spread.median, spread.p95, spread.high]
    assert found == [number(x) for x in figures]
  values = re.findall(
    r"rewards?: mean ([\d.]+), std ([\d.]+), range \[(\S+), (\S+)\]; ten equal "
    r"bins of \[0, 1\]: ([\d ]+)",
    said,
  )
  if "label:" in said:
    true, false = re.search(r"(\d+) true, (\d+) false", said).groups()
    assert (measures.positive, measures.negative) == (int(true), int(false))
  else:
    assert len(values) == len(measures.values)
  for (mean, std, low, high, bins), spread in zip(
    values, measures.values, strict=False
  ):
    assert f"{spread.mean:.4f}" == mean
    assert f"{spread.std:.4f}" == std
    assert spread.low == pytest.approx(number(low), rel=1e-2)
    assert spread.high == pytest.approx(number(high))
    assert spread.counts == tuple(map(int, bins.split()))


def test_rewards_of_a_prompt_that_are_all_the_same(reports):
  # 588 of the source's 1,319 problems; this file has 928 of them.
  groups = reports["gsm8k/krated_train.parquet"].measures.groups
  closed = groups.several - groups.open
  assert closed / groups.several == pytest.approx(588 / 1319, abs=0.04)


def test_what_the_readme_warns_of_is_found(reports):
  kinds = {
    name: {f.kind: f.count for f in report.findings}
    for name, report in reports.items()
  }
  assert kinds["alpaca_eval/label_test.parquet"]["duplicate_rows"] > 0
  assert kinds["alpaca_eval/krated_test.parquet"]["conflicts"] == 1
  assert "skew" in kinds["alpaca_eval/traj_val.parquet"]
  assert "length" in kinds["alpaca_eval/traj_val.parquet"]
  assert "carriage_returns" in kinds["alpaca_eval/traj_val.parquet"]
  assert "turn_markers" in kinds["hh_harmless/pairs_train.parquet"]


def test_splits_share_no_prompt(shared_data):
  for folder, one, other in (
    ("gsm8k", "traj_train.jsonl.gz", "traj_val.jsonl.gz"),
    ("qa_feedback", "krated_train.jsonl.gz", "pairs_val.parquet"),
  ):
    path = shared_data / folder
    config = AuditConfig(methods=False, test=str(path / other))
    report = audit(str(path / one), config)
    assert (report.leakage.leaked.count, report.leakage.loosely.count) == (0, 0)
    assert report.leakage.prompts > 0
    itself = AuditConfig(methods=False, test=str(path / one))
    report = audit(str(path / one), itself)
    assert report.leakage.leaked.count == report.leakage.prompts


@pytest.mark.slow
def test_oddities_of_all_splits_together(shared_data):
  found = collections.Counter()
  for split in ("train", "val", "test"):
    path = shared_data / "alpaca_eval" / f"traj_{split}.parquet"
    report = audit(str(path), AuditConfig(methods=False))
    found.update({f.kind: f.count for f in report.findings})
    found["texts"] += report.repeats.texts
  # "805 begin or end with whitespace, 71 contain carriage returns, 31 spell
  # tokens"; "the same text sometimes comes from two models (96 texts), 4 of
  # them with rewards that differ".
  assert found["edges"] == 805
  assert found["carriage_returns"] == 71
  assert found["spelled_tokens"] == 31
  assert (found["texts"], found["conflicts"]) == (96, 4)


def test_best_rewards_and_spreads_of_prompts(shared_data):
  path = shared_data / "alpaca_eval" / "krated_train.parquet"
  groups = audit(str(path), AuditConfig(methods=False)).measures.groups
  assert f"{groups.best / groups.several:.3f}" == "0.806"
  assert f"{groups.spread / groups.several:.3f}" == "0.231"
  assert f"{groups.least_spread:.1e}" == "9.6e-06"
