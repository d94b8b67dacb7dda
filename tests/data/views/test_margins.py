import json

import numpy as np
import pytest
from view_cases import make, pair

from offalign import data, losses
from offalign.config.data import DataConfig
from offalign.data import Record
from offalign.data.reading.memory import as_path
from offalign.errors import UserError
from offalign.training import inputs

BT = "bradley_terry(margin=1.0)"
ROWS = [
  {"prompt": f"Q{i}", "chosen": "good", "rejected": "bad"} for i in range(4)
]


def logged(margin, rewards=None, row=0):
  record = pair(f"Q{row}", "good", "bad", rewards, row)
  return Record(
    record.prompt,
    record.completions,
    record.rewards,
    None,
    True,
    record.source,
    margin=margin,
  )


def with_margins(*margins, **more):
  return [
    {**row, "margin": m, **{k: v[i] for k, v in more.items()}}
    for i, (row, m) in enumerate(zip(ROWS, margins, strict=False))
  ]


def read(rows, spec, **options):
  """The batches of a run on rows in memory, or on several files."""
  if "eval_path" not in options:
    options["eval_fraction"] = 0.0
  config = DataConfig(path=as_path(rows), **options)
  return inputs.read(
    config,
    losses.get(spec),
    lambda texts: data.make_tokenizer("byte", texts),
    0,
  )


def write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def test_a_margin_is_the_gap_that_bradley_terry_asks_for():
  view = make([logged(m, row=i) for i, m in enumerate((0.0, 3.0, -2.0))], BT)
  assert [row.gap for row in view.rows] == [0.0, 3.0, -2.0]
  assert [row.margin for row in view.rows] == [0.0, 3.0, -2.0]
  assert {row.rewards for row in view.rows} == {None}
  assert "mean 0.3333, from -2 to 3" in str(view.summary)


def test_margins_reach_the_batches_in_their_units():
  found = read(with_margins(0.0, 1.0, 11.0, -2.5), BT)
  assert found.train.margins.tolist() == [0.0, 1.0, 11.0, -2.5]
  assert found.train.margins.dtype == np.float32
  assert found.scales is None
  assert found.train.rewards is None


def test_margins_of_scores_are_not_normalised():
  rows = [
    {**row, "score_chosen": 10.0 * i, "score_rejected": 3.0}
    for i, row in enumerate(ROWS)
  ]
  for given in ({}, {"normalize_rewards": False}):
    found = read(rows, BT, **given)
    assert found.train.margins.tolist() == [-3.0, 7.0, 17.0, 27.0]
  with pytest.raises(UserError, match="reads margins, which stay in the units"):
    read(rows, BT, normalize_rewards=True)
  with pytest.raises(UserError, match="reads margins, which stay in the units"):
    read(rows, BT, normalize_by="prompt")
  # Pairs made of scored completions are of the same units.
  groups = [
    {"prompt": f"Q{i}", "completions": ["a", "b"], "rewards": [1.0, 4.5]}
    for i in range(3)
  ]
  assert read(groups, BT).train.margins.tolist() == [3.5, 3.5, 3.5]


def test_rebel_reads_margins_as_differences_of_rewards():
  found = read(with_margins(0.0, 1.0, 11.0, -2.5), "rebel")
  gaps = found.train.rewards[:, 0] - found.train.rewards[:, 1]
  assert gaps.tolist() == [0.0, 1.0, 11.0, -2.5]
  assert found.scales is None
  assert "and not normalised" in "\n".join(found.sentences)
  with pytest.raises(UserError, match="margins stay in their units"):
    read(with_margins(0.0, 1.0, 2.0), "rebel", normalize_rewards=True)
  with pytest.raises(UserError, match="margins stay in their units"):
    read(with_margins(0.0, 1.0, 2.0), "rebel", normalize_by="prompt")


def test_losses_of_order_alone_go_on_and_say_so():
  for spec in ("dpo", "ipo", "simpo", "bradley_terry", "kto", "dro_v", "sft"):
    view = make([logged(m, row=i) for i, m in enumerate((1.0, None))], spec)
    assert "are not read by this loss" in str(view.summary), spec
  assert "not read" not in str(make([pair("x", "a", "b")], "dpo").summary)


@pytest.mark.parametrize("spec", [BT, "rebel"])
def test_nothing_is_made_up(spec):
  with pytest.raises(UserError, match="have neither a margin nor scores") as e:
    make([pair("x", "a", "b"), pair("y", "a", "b")], spec)
  assert "log a column 'margin'" in str(e.value)
  with pytest.raises(UserError, match=r"1 of 2 pairs .* \(f:1\)"):
    make([logged(1.0), logged(None, row=1)], spec)


def test_labels_are_no_margins():
  thumbs = [
    Record("x", (text,), None, (text == "a",), False, f"f:{text}")
    for text in "ab"
  ]
  with pytest.raises(UserError, match="labels say no more than which"):
    make(thumbs, BT)


@pytest.mark.parametrize("spec", [BT, "rebel"])
def test_a_margin_that_contradicts_the_scores_is_refused(spec):
  agreeing = logged(1.9, (4.2, 2.3))
  assert make([agreeing], spec).rows[0].margin == pytest.approx(1.9)
  said = r"1 pair .* \(f:3: margin 2, scores 5 and 1\): remove"
  with pytest.raises(UserError, match=said):
    make([agreeing, logged(2.0, (5.0, 1.0), row=3)], spec)
  make([logged(2.0, (5.0, 1.0))], "dpo")


def test_a_difference_that_float32_does_not_hold_is_refused():
  with pytest.raises(UserError, match="so far apart that float32"):
    make([pair("x", "a", "b", (3e38, -3e38))], BT)


def test_a_file_without_margins_is_of_pairs_without(tmp_path):
  rows = with_margins(1.0, 2.0, 3.0)
  some = write(tmp_path / "some.jsonl", rows)
  none = write(tmp_path / "none.jsonl", ROWS)
  path = f"{some},{none}"
  found = read(path, "dpo")
  assert "4 pairs without a margin" in "\n".join(found.sentences)
  with pytest.raises(UserError, match=r"4 of 7 pairs .*none.jsonl:0; "):
    read(path, BT)
  with pytest.raises(UserError, match=r"none.jsonl.*neither a margin nor"):
    read(f"{some}:1,{none}:1", BT)


def test_sources_with_margins_and_with_scores(tmp_path):
  bare = write(tmp_path / "bare.jsonl", with_margins(1.0, 2.0, 3.0))
  rows = [{**row, "chosen_rating": 9.0, "rejected_rating": 4.0} for row in ROWS]
  scored = write(tmp_path / "scored.jsonl", rows)
  path = f"{bare}:1,{scored}:1"
  assert read(path, BT).train.margins.tolist() == [1, 2, 3, 5, 5, 5, 5]
  with pytest.raises(UserError, match=r"some pairs have scores .* and others"):
    read(path, "rebel")
  rewards = read(path, "rebel", normalize_rewards=False).train.rewards
  assert (rewards[:, 0] - rewards[:, 1]).tolist() == [1, 2, 3, 5, 5, 5, 5]


def test_held_out_pairs_need_their_margins_too(tmp_path):
  train = write(tmp_path / "train.jsonl", with_margins(1.0, 2.0, 3.0))
  held = write(tmp_path / "held.jsonl", [{**ROWS[0], "prompt": "Other"}])
  with pytest.raises(UserError, match="neither a margin nor scores"):
    read(train, BT, eval_path=held)
  held = write(
    tmp_path / "held.jsonl", [{**ROWS[0], "prompt": "Other", "margin": 7.0}]
  )
  found = read(train, BT, eval_path=held)
  assert found.held_out.margins.tolist() == [7.0]


def test_min_margin_drops_by_the_margin():
  records = [logged(m, row=i) for i, m in enumerate((0.5, 2.0, -3.0))]
  view = make(records, "dpo", min_margin=1.0)
  assert [row.prompt for row in view.rows] == ["Q1"]
  assert view.summary.counts["margin_dropped"] == 2
