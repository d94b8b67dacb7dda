import json
import math
import sys

import numpy as np
import pytest
from peaks import beside_a_large_parent

from offalign.errors import UserError
from offalign.leaderboard import (
  Row,
  Sample,
  Stopwatch,
  append,
  environment,
  read,
)
from offalign.leaderboard import revision as git_revision


def full(row):
  return row(
    "kto (batch threshold)",
    seed=np.int64(3),
    metrics={"kl": np.float32(0.5), "win_vs_sft": math.nan, "x": -math.inf},
    folds={"win_vs_sft": [0.5, 0.75]},
    curves={"kl": [(0, 0.0), (10, 0.5)]},
    duels={"dpo": 1.0},
    samples=[Sample("a\nb", "<c>", 1)],
    command="python -m benchmarks.run",
  )


def test_a_row_survives_json(row):
  line = full(row).to_json()
  again = Row.from_json(line)
  assert again.to_json() == line
  assert again.curves == {"kl": [[0, 0.0], [10, 0.5]]}
  assert again.metrics["kl"] == 0.5
  assert math.isnan(again.metrics["win_vs_sft"])
  assert again.metrics["x"] == -math.inf
  assert again.samples == [Sample("a\nb", "<c>", 1.0)]
  # Strict JSON: other readers reject the bare word NaN.
  json.loads(line, parse_constant=lambda word: pytest.fail(word))


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    ({"seed": 1.5}, "'seed' is 1.5, not a whole number"),
    ({"seed": True}, "not a whole number"),
    ({"label": " ", "loss": "dpo"}, "'label' is empty"),
    ({"label": "a\nb"}, "line break"),
    (
      {"label": "a" * 100_000, "loss": "dpo"},
      "'label' has 100,000 characters, more than",
    ),
    ({"budget": {"steps": 3}}, "'budget' has the keys"),
    (
      {"budget": {"completions": 1, "tokens": -1, "steps": 1}},
      "'budget.tokens' is -1, less than 0",
    ),
    ({"metrics": {"kl": "high"}}, "'metrics.kl' is 'high', not a number"),
    ({"metrics": {"kl": True}}, "not a number"),
    ({"metrics": {"kl": np.zeros(2)}}, "not a number"),
    ({"folds": {"kl": [1.0]}}, "'folds.kl' has fewer than two folds"),
    ({"curves": {"kl": [[5, 1], [5, 2]]}}, "steps that do not rise"),
    ({"curves": {"kl": [[5, 1, 2]]}}, "not [step, value]"),
    ({"duels": {"kto": 1.2}}, "not a share in [0, 1]"),
    ({"duels": {"dpo": 0.5}}, "'duels' has the row itself"),
    ({"status": "done"}, "'status' is not one of"),
    ({"status": "failed"}, "a failed run has an error"),
    ({"error": "boom"}, "a failed run has an error"),
    ({"control": "no"}, "'control' is not true or false"),
    ({"command": "a\nb"}, "line break"),
    ({"samples": "abc"}, "'samples' is not a list of samples"),
    ({"samples": [{"prompt": "a"}]}, "not a table of prompt, completion"),
    (
      {"samples": [{"prompt": "a", "completion": "b", "reward": "c"}]},
      "'samples.reward' is 'c', not a number",
    ),
  ],
)
def test_a_bad_value_is_one_sentence(row, change, sentence):
  with pytest.raises(UserError) as caught:
    row(**{"label": "dpo", **change})
  assert sentence in str(caught.value)


def test_unknown_and_missing_keys_name_file_and_line(row, tmp_path):
  path = tmp_path / "rows.jsonl"
  append(path, row())
  record = json.loads(row().to_json())
  unknown = json.dumps({**record, "metric": {}})
  path.write_text(path.read_text() + unknown + "\n")
  with pytest.raises(UserError) as caught:
    read(tmp_path)
  assert str(caught.value) == (
    "rows.jsonl:2: a row has no key 'metric'; did you mean 'metrics'?"
  )
  del record["samples"], record["command"]
  path.write_text(json.dumps(record) + "\n")
  assert read(tmp_path)[0] == [row()]
  del record["model"], record["track"]
  path.write_text("\n" + json.dumps(record) + "\n")
  with pytest.raises(UserError) as caught:
    read(tmp_path)
  assert str(caught.value) == "rows.jsonl:2: the row lacks track, model"
  path.write_text("[1]\n")
  with pytest.raises(UserError, match=r"rows.jsonl:1: a row is a JSON object"):
    read(tmp_path)


def test_rows_come_back_in_file_and_line_order(row, tmp_path):
  for name, seed in (("b", 0), ("a", 1), ("b", 2)):
    append(tmp_path / "new" / f"{name}.jsonl", row(seed=seed))
  rows, problems = read(tmp_path / "new")
  assert [r.seed for r in rows] == [1, 0, 2]
  assert problems == []


def test_a_half_written_line_loses_no_other(row, tmp_path):
  path = tmp_path / "rows.jsonl"
  append(path, row(seed=0))
  whole = path.read_bytes()
  path.write_bytes(whole + whole[: len(whole) // 2])
  rows, problems = read(tmp_path)
  assert [r.seed for r in rows] == [0]
  assert len(problems) == 1
  assert "rows.jsonl:2 is not complete JSON" in problems[0]
  append(path, row(seed=1))
  rows, again = read(tmp_path)
  assert [r.seed for r in rows] == [0, 1]
  assert again == problems


def test_a_last_line_without_its_line_break_counts(row, tmp_path):
  path = tmp_path / "rows.jsonl"
  path.write_text(row(seed=0).to_json())
  append(path, row(seed=1))
  rows, problems = read(tmp_path)
  assert [r.seed for r in rows] == [0, 1]
  assert problems == []


def test_append_refuses_a_file_that_read_would_miss(row, tmp_path):
  with pytest.raises(UserError, match=r"\.jsonl"):
    append(tmp_path / "rows.json", row())


def test_provenance_fits_a_row(row):
  with Stopwatch() as watch:
    block = bytearray(30 * 2**20)
  made = row(
    versions=environment("TPU v5e"),
    revision=git_revision(),
    seconds=watch.seconds,
    peak_memory_mb=watch.peak_memory_mb,
  )
  assert sorted(made.versions) == sorted(
    ["python", "jax", "flax", "optax", "offalign", "platform"]
  )
  assert made.versions["platform"].endswith("TPU v5e")
  assert made.seconds["wall"] > 0
  # In MiB: kilobytes or bytes would be off by a factor of 1024.
  assert len(block) / 2**20 < made.peak_memory_mb < 2**17


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_is_of_this_process_alone():
  said = beside_a_large_parent(
    "from offalign.leaderboard.provenance import peak_memory_mb; "
    "print(peak_memory_mb())"
  )
  assert 5 < float(said) < 400


@pytest.mark.parametrize(
  ("line", "sentence"),
  [
    ("[" * 100_000, r"rows.jsonl:1: JSON nested too deeply"),
    ('{"seed": ' + "9" * 5_000 + "}", r"rows.jsonl:1: .*limit"),
  ],
)
def test_a_line_that_python_cannot_parse_is_a_sentence(
  tmp_path, line, sentence
):
  (tmp_path / "rows.jsonl").write_text(line)
  with pytest.raises(UserError, match=sentence):
    read(tmp_path)


def test_half_of_a_surrogate_pair_and_a_repeated_key_are_sentences(row):
  for change in (
    {"label": "a\ud800"},
    {"metrics": {"\udfff": 1.0}},
    {"samples": [Sample("p", "\ud800", 1.0)]},
    {"status": "failed", "error": "\ud800"},
  ):
    with pytest.raises(UserError, match="has half of a surrogate pair"):
      row(**change)
  line = row().to_json().replace('"seed"', '"seed": 1, "seed"')
  with pytest.raises(UserError, match=r"here: the key 'seed' comes twice"):
    Row.from_json(line, "here")
