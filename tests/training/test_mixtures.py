"""Runs on several sources, and on rewards that are normalised in other ways."""

import json

import numpy as np
import pytest
import runs
from mixed import write_sources

from offalign import data, losses
from offalign.config.config import DataConfig
from offalign.training import inputs, sources, split
from offalign.training import views as viewing
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with sources of three forms."""
  monkeypatch.chdir(tmp_path)
  write_sources()


def read(loss, **flags):
  return inputs.read(
    DataConfig(**flags),
    losses.get(loss),
    lambda texts: data.make_tokenizer("byte"),
    seed=0,
  )


def files(rows):
  return np.array([s[0].partition(":")[0] for s in rows.sources])


@pytest.mark.usefixtures("here")
def test_sources_of_other_forms_make_one_view():
  found = read("dpo", path="a.jsonl:0.75,p.jsonl:0.25", pairs="best_worst")
  names = files(found.train)
  assert set(names) == {"a.jsonl", "p.jsonl"}
  # What only one of them has, and the loss does not read, is left out.
  assert found.train.rewards is None
  text = "\n".join(found.sentences)
  assert "data: a.jsonl: 48 rows" in text
  assert "data: p.jsonl: 20 rows" in text
  assert "training, a.jsonl: pairs made of the best and the worst" in text
  assert "training, p.jsonl: " in text
  assert "mixture: a.jsonl: " in text
  n = len(names)
  sampler = found.sampler(8, seed=0)
  drawn = np.concatenate([sampler.indices(t) for t in range(n)])
  share = (names[drawn] == "a.jsonl").mean()
  assert abs(share - 0.75) < 1 / n
  assert len(found.held_out) == 3  # a tenth of 32 prompts
  # No prompt of one source is held out from it and trained on in another.
  kept = {tuple(found.train.prompts[q]) for q in found.train.prompt_index}
  held = found.held_out
  assert not kept & {tuple(held.prompts[q]) for q in held.prompt_index}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("loss", ["dpo", "kto", "dro_v", "sft", "rebel"])
def test_every_row_of_a_mixture_knows_its_place(loss):
  # Pairs without scores do not say what rebel reads.
  names = "ab" if loss == "rebel" else "abp"
  path = ",".join(f"{name}.jsonl:1" for name in names)
  config = DataConfig(path=path)
  found = sources.load(config, split.Split(0), [])
  said = []
  view, held_view, source_of = viewing.make(
    found, config, losses.get(loss), (0, 0), lambda *text: said.append(text)
  )
  assert {what for what, _ in said} == {
    f"{what}, {name}.jsonl"
    for what in ("training", "held out")
    for name in names
  }
  raw = {f"{name}.jsonl": runs.rows_of(f"{name}.jsonl") for name in names}
  for row in (*view.rows, *held_view.rows):
    for text, places in zip(row.completions, row.origins, strict=True):
      for file, number, k in places:
        assert source_of[row.sources] == file
        line = raw[file][number]
        assert line["prompt"] == row.prompt
        known = line.get("completion") or line[("chosen", "rejected")[k]]
        assert known == text
  held = {record.prompt for each in found for record in each.held}
  assert {row.prompt for row in held_view.rows} <= held
  assert not held & {row.prompt for row in view.rows}


@pytest.mark.usefixtures("here")
def test_every_kind_of_view_is_mixed():
  found = read("kto", path="a.jsonl:1,t.jsonl:1,p.jsonl:1")
  text = "\n".join(found.sentences)
  assert "training, a.jsonl: labels made from rewards" in text
  assert "training, t.jsonl: labels as given" in text
  assert "training, p.jsonl: labels made from pairs" in text
  # A rule for rewards is for the sources that have them.
  rule = {"label_rule": "prompt_mean", "path": "a.jsonl:1,t.jsonl:1"}
  text = "\n".join(read("kto", **rule).sentences)
  assert "training, a.jsonl: labels made from rewards: reward > prompt" in text
  assert "training, t.jsonl: labels as given" in text
  found = read("grpo", path="a.jsonl:1,b.jsonl:1", group_size=2)
  assert found.train.rewards.shape[1] == 2


@pytest.mark.usefixtures("here")
def test_rewards_are_normalised_as_they_are_drawn_or_by_source_or_prompt():
  mixed = {"path": "a.jsonl:0.5,b.jsonl:0.5", "eval_fraction": 0.2}
  found = read("dro_v", **mixed)
  weights = found.mixture.row_weights[:, None]
  rewards = found.train.rewards.astype(float)
  mean = np.average(rewards, weights=weights)
  assert mean == pytest.approx(0.0, abs=1e-6)
  assert np.average(rewards**2, weights=weights) == pytest.approx(1.0, 1e-6)

  found = read("dro_v", normalize_by="source", **mixed)
  names = files(found.train)
  for name in ("a.jsonl", "b.jsonl"):
    mine = found.train.rewards[names == name]
    np.testing.assert_allclose([mine.mean(), mine.std()], [0, 1], atol=1e-6)
    assert f"training, {name}: rewards normalised, mean " in "\n".join(
      found.sentences
    )

  found = read("dro_v", path="a.jsonl", normalize_by="prompt")
  for rows in (found.train, found.held_out):
    for q in set(rows.prompt_index.tolist()):
      mine = rows.rewards[rows.prompt_index == q]
      np.testing.assert_allclose([mine.mean(), mine.std()], [0, 1], atol=1e-6)
  assert len(found.scales.known) == 12
  assert "over the completions of each of 11 prompts" in "\n".join(
    found.sentences
  )


@pytest.mark.slow
@pytest.mark.usefixtures("here", "one_device")
def test_a_mixture_goes_on_to_the_same_bits(tmp_path):
  given = {
    "loss": "rebel",
    "log_every": 1,
    "data.eval_fraction": 0.0,
    "data.path": "a.jsonl:0.7,b.jsonl:0.3",
    "data.normalize_by": "prompt",
  }
  path = given.pop("data.path")
  whole = runs.train(path, tmp_path / "whole", **given)
  runs.train(path, tmp_path / "parts", steps=2, **given)
  before = runs.contents(tmp_path / "parts")["reward_scales.json"]
  parts = runs.train(path, tmp_path / "parts", **given)
  assert runs.contents(parts.folder)["reward_scales.json"] == before
  lines = runs.metrics(parts.folder)
  assert lines == runs.metrics(whole.folder)
  steps = [line for line in lines if "loss" in line]
  for line in steps:
    rows = line["rows/a.jsonl"], line["rows/b.jsonl"]
    assert sum(rows) == 8
    mean = sum(
      n * line[f"loss/{name}.jsonl"]
      for n, name in zip(rows, "ab", strict=True)
      if n
    )
    assert mean / 8 == pytest.approx(line["loss"], rel=1e-4)
  kept = data.read_scales(parts.folder)
  assert kept == parts.inputs.scales
  about = json.loads((parts.folder / "run.json").read_text())
  assert about["mixture"] == parts.inputs.mixture.summary()
  assert about["reward_scale"]["by"] == "prompt"
  # Scales that are kept are used, though they are not what would be found.
  first = whole.inputs
  other = data.RewardScales(
    "prompt",
    {
      key: data.RewardScale(scale.mean + 1, scale.std)
      for key, scale in kept.known.items()
    },
  )
  again = inputs.read(
    whole.config.data,
    losses.get(whole.config.loss),
    lambda texts: first.tokenizer,
    seed=0,
    known=other,
  )
  assert again.scales == other
  assert again.fingerprint != first.fingerprint
  assert Run(whole.config).inputs.fingerprint == first.fingerprint
