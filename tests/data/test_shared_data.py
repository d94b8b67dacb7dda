"""Real files of every form, and files with real faults; skipped if absent."""

import json
import re

import feedback_files
import pytest

from offalign import data, losses
from offalign.errors import UserError
from offalign.types import Kind

BAD = pytest.mark.parametrize(
  "name",
  [
    "truncated.jsonl",
    "invalid_utf8.jsonl",
    "missing_key_in_one_row.jsonl",
    "null_reward.jsonl",
    "null_reward.parquet",
    "nonfinite_reward.jsonl",
    "nonfinite_reward.parquet",
    "wrong_roles.jsonl",
  ],
)


def test_every_file_has_the_rows_its_readme_says(shared_data):
  readme = (shared_data / "README.md").read_text(encoding="utf-8")
  facts = re.findall(
    r"\*\*`(\S+)`\*\* *\n([\d,]+) rows, ([\d,]+) distinct prompts", readme
  )
  files = {
    str(path.relative_to(shared_data))
    for suffix in ("parquet", "jsonl", "jsonl.gz")
    for path in shared_data.glob(f"[!b]*/*.{suffix}")
  }
  assert {name for name, _, _ in facts} == files
  for name, rows, prompts in facts:
    table = data.load(shared_data / name)
    found = table.summary.counts
    assert (found["rows"], found["prompts"]) == (
      int(rows.replace(",", "")),
      int(prompts.replace(",", "")),
    ), name
    assert len(table.records) == found["rows"]


def manifest(shared_data):
  text = (shared_data / "bad" / "manifest.json").read_text(encoding="utf-8")
  return {entry["file"]: entry for entry in json.loads(text)}


@BAD
def test_bad_rows_and_no_others_are_refused(shared_data, name):
  entry = manifest(shared_data)[name]
  path = shared_data / "bad" / name
  table = data.load(path, bad_rows="skip")
  assert sorted({p.row for p in table.problems}) == entry["bad_rows"]
  assert len(table.records) == 8 - len(entry["bad_rows"])
  with pytest.raises(UserError) as error:
    data.load(path)
  for row in entry["bad_rows"]:
    assert f"{path}, row {row}" in str(error.value)


@pytest.mark.parametrize(
  "name",
  [
    "string_reward.jsonl",
    "label_int.jsonl",
    "label_string.jsonl",
    "hh_irregular.jsonl",
  ],
)
def test_files_where_every_row_is_bad(shared_data, name):
  bad = manifest(shared_data)[name]["bad_rows"]
  for bad_rows in ("error", "skip"):
    with pytest.raises(UserError, match=f"all {len(bad)} rows") as error:
      data.load(shared_data / "bad" / name, bad_rows=bad_rows)
    assert all(f", row {row}, column " in str(error.value) for row in bad)


@pytest.mark.parametrize(
  ("name", "what"),
  [
    ("missing_column.jsonl", "without 'completion'"),
    ("truncated.parquet", "not a whole Parquet file"),
  ],
)
def test_files_that_are_bad_as_a_whole(shared_data, name, what):
  with pytest.raises(UserError, match=f"{name} .*{what}"):
    data.load(shared_data / "bad" / name, bad_rows="skip")


def test_rewards_that_are_not_there(shared_data):
  path = shared_data / "bad" / "missing_column.parquet"
  with pytest.raises(UserError, match="no column 'reward'"):
    data.load(path, form="traj")
  loss = losses.get("dro_v")
  with pytest.raises(UserError, match="needs rewards"):
    data.view(data.load(path).records, loss.kind, loss.needs)


@pytest.mark.parametrize(
  ("name", "counts"),
  [
    ("empty_completion.jsonl", ("empty_completions", "blank_completions")),
    ("empty_prompt.jsonl", ("empty_prompts", "blank_prompts")),
    ("huge_completion.jsonl", ("huge_completions",)),
    ("chosen_equals_rejected.jsonl", ("equal_pairs",)),
    ("duplicate_rows.jsonl", ("duplicate_rows",)),
  ],
)
def test_degenerate_rows_are_kept_and_counted(shared_data, name, counts):
  summary = data.load(shared_data / "bad" / name).summary
  found = sum(summary.counts[count] for count in counts)
  assert found == len(manifest(shared_data)[name]["bad_rows"])


def test_label_int_with_the_switch(shared_data):
  table = data.load(shared_data / "bad" / "label_int.jsonl", int_labels=True)
  assert {r.labels for r in table.records} == {(True,), (False,)}


@pytest.mark.parametrize("loss", ["dro_v", "kto", "dpo", "rebel", "sft"])
@pytest.mark.parametrize(
  "name",
  [
    "qa_feedback/pairs_val.parquet",
    "qa_feedback/krated_val.jsonl.gz",
    "gsm8k/traj_val.jsonl.gz",
    "gsm8k/label_val.jsonl.gz",
    "alpaca_eval/krated_val.parquet",
    "alpaca_eval/pairs_val.parquet",
    "hh_harmless/pairs_val.parquet",
  ],
)
def test_every_loss_is_served_by_every_file(shared_data, name, loss):
  loss = losses.get(loss)
  records = data.load(shared_data / name).records
  if loss.name == "rebel" and records[0].ranked and records[0].rewards is None:
    # It reads by how much one is better, which nobody said.
    with pytest.raises(UserError, match="have neither a margin nor scores"):
      data.view(records, loss.kind, loss.needs)
    return
  view = data.view(records, loss.kind, loss.needs)
  known = {(r.prompt, text) for r in records for text in r.completions}
  for row in view.rows:
    assert len(row.completions) == (2 if loss.kind is Kind.PAIR else 1)
    assert {(row.prompt, text) for text in row.completions} <= known
    for need, column in (("rewards", row.rewards), ("labels", row.labels)):
      if need in loss.needs:
        assert column is not None
        assert len(column) == len(row.completions)


def test_win_shares_agree_with_published_ones(shared_data):
  # The source of krated counts a tie one half; pairs leave ties out. Where a
  # prompt has all six comparisons, both say the same.
  folder = shared_data / "qa_feedback"
  published = {
    (record.prompt, text): reward
    for record in data.load(folder / "krated_train.jsonl.gz").records
    for text, reward in zip(record.completions, record.rewards, strict=True)
  }
  records = data.load(folder / "pairs_train.parquet").records
  pairs_of = {}
  for record in records:
    pairs_of[record.prompt] = pairs_of.get(record.prompt, 0) + 1
  view = data.view(records, Kind.SINGLE, ("rewards",))
  full = [row for row in view.rows if pairs_of[row.prompt] == 6]
  assert len(full) > 500
  for row in full:
    assert row.rewards[0] == pytest.approx(
      published[row.prompt, row.completions[0]], abs=1e-6
    )
  assert "3,626 sides of 1,813 pairs are" in str(view.summary)


def test_conversations_end_where_the_reply_begins(shared_data):
  table = data.load(shared_data / "hh_harmless" / "pairs_val.parquet")
  view = data.view(table.records, Kind.PAIR)
  tokenizer = data.make_tokenizer("byte")
  rows = data.tokenize(view, tokenizer)
  batch = next(data.eval_batches(rows, 4))
  prompt = batch.prompts[0][batch.prompt_mask[0]]
  (asked, _) = tokenizer.encode_prompts([view.rows[0].prompt])
  assert prompt.tolist() == asked[0].tolist()
  for k, text in enumerate(view.rows[0].completions):
    tokens = batch.completions[0, k][batch.completion_mask[0, k]]
    assert tokens[-1] == tokenizer.eos_id
    assert tokenizer.decode(tokens) == text


def test_every_kind_of_file_holds_the_same_rows(shared_data, tmp_path):
  rows = [
    {"prompt": r.prompt, "completion": r.completions[0], "score": r.rewards[0]}
    for r in data.load(shared_data / "gsm8k" / "traj_val.jsonl.gz").records
  ]
  expected = [tuple(row.values()) for row in rows]
  for path in feedback_files.every_kind(rows, tmp_path):
    table = data.load(path, columns="reward=score")
    found = [(r.prompt, *r.completions, *r.rewards) for r in table.records]
    assert found == expected, path
    numbers = [int(r.source.rpartition(":")[2]) for r in table.records]
    assert numbers == list(range(len(rows)))
