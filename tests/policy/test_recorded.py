"""A run folder whose JSON says something else than a run writes."""

import json

import pytest

from offalign.config import Config
from offalign.config.config import flat
from offalign.data import read_scales
from offalign.errors import UserError
from offalign.policy.best import Best
from offalign.policy.folder import (
  curves,
  held_out_metrics,
  read_cost,
  read_metrics,
  read_run,
)

ABOUT = {
  "config": flat(Config(out="x")),
  "loss": "dpo",
  "model": "decoder",
  "vocab_size": 262,
  "tokenizer": "0123",
  "start": "decoder, seed 0",
  "data": "4567",
  "reward_scale": {"mean": 0.5, "std": 2.0},
  "mixture": None,
}
COST = {
  "step": 4,
  "completions": 8,
  "positions": 64,
  "tokens": 60,
  "seconds": {"wall": 1.0, "cpu": float("nan")},
  "peak_memory_mb": 100.5,
  "versions": {"python": "3"},
  "revision": "abc",
}


def write(folder, **changes):
  (folder / "run.json").write_text(json.dumps(ABOUT | changes))
  return folder


def options(**changes):
  return {"config": ABOUT["config"] | changes}


def test_what_a_run_writes_is_read(tmp_path):
  write(tmp_path)
  assert read_run(tmp_path) == ABOUT
  assert read_scales(tmp_path).scale().std == 2.0


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"config": "x"}, "'config' is 'x', where a JSON object belongs"),
    ({"config": None}, "'config' is None, where a JSON object belongs"),
    ({"config": {}}, "config has no 'init', which every run has"),
    ({"loss": 3}, "'loss' is 3, where text belongs"),
    ({"model": ["t5"]}, "'model' is \\['t5'\\], where text belongs"),
    ({"vocab_size": "x"}, "'vocab_size' is 'x', where a whole number"),
    ({"vocab_size": True}, "'vocab_size' is True, where a whole number"),
    ({"vocab_size": 0}, "'vocab_size' is 0, which no run has"),
    ({"vocab_size": 10**12}, "'vocab_size' is 1000000000000, which no run"),
    ({"tokenizer": None}, "'tokenizer' is None, where text belongs"),
    ({"start": {}}, "'start' is {}, where text belongs"),
    ({"data": 1.5}, "'data' is 1.5, where text belongs"),
    ({"mixture": "x"}, "'mixture' is 'x', where a JSON object or null"),
    ({"reward_scale": "x"}, "'reward_scale' is 'x', where a JSON object or"),
    (options(seed="x"), "config: 'seed' is 'x', where a whole number belongs"),
    (options(keep_best=[]), "'keep_best' is \\[\\], where text or null"),
    (options(**{"data.max_prompt": 1.5}), "'data.max_prompt' is 1.5, where a"),
    (options(packing=1), "'packing' is 1, where true or false belongs"),
    (options(**{"lora.rank": 8}), "config has no 'lora.alpha'"),
    (options(remat=None), "'remat' is None, where text belongs"),
  ],
)
def test_a_value_of_another_type_is_named(tmp_path, changes, said):
  with pytest.raises(UserError, match=said):
    read_run(write(tmp_path, **changes))


@pytest.mark.parametrize(
  "scale",
  [
    {"mean": "x", "std": 1.0},
    {"mean": 0.0},
    {"mean": 0.0, "std": -1.0},
    {"mean": float("nan"), "std": 1.0},
    {"mean": 10**400, "std": 1.0},
    {"by": "source", "known": {"a": [0.0]}},
    {"by": "source", "known": 3},
    {"by": []},
    {"by": "weather"},
    {"mean": 0.0, "std": 1.0, "x": 2},
  ],
)
def test_scales_that_are_none_are_refused(tmp_path, scale):
  with pytest.raises(UserError, match=r"run\.json .* put it back$"):
    read_scales(write(tmp_path, reward_scale=scale))


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("[" * 100_000, r"is not JSON \(nested too deeply\)"),
    ('{"config": ' + "9" * 5000 + "}", "is not JSON"),
    ('{"loss": "a", "loss": "b"}', "the key 'loss' comes twice"),
    ("[]", "does not hold a JSON object; is it a run's"),
    ("\ud800", "cannot be read"),
  ],
)
def test_a_run_json_that_is_no_json_is_refused(tmp_path, text, said):
  (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
  with pytest.raises(UserError, match=said):
    read_run(tmp_path)


def lines(folder, *texts):
  (folder / "metrics.jsonl").write_text("\n".join(texts))
  return folder


GOOD = '{"step": 2, "loss": 0.5, "eval_loss": NaN}'


@pytest.mark.parametrize(
  ("bad", "said"),
  [
    ('{"lo": 3}', "line 2 has no 'step'; put the file back"),
    ("garbage", "line 2 is not JSON"),
    ("[1]", "line 2 does not hold a JSON object"),
    ('{"step": "x"}', "line 2: 'step' is 'x', where a whole number belongs"),
    ('{"step": 1.5}', "line 2: 'step' is 1.5, where a whole number belongs"),
    ('{"step": 3, "loss": "x"}', "'loss' is 'x', where a number belongs"),
    ('{"step": 3, "loss": [1]}', "'loss' is \\[1\\], where a number belongs"),
    ('{"step": 3, "loss": true}', "'loss' is True, where a number belongs"),
    ('{"step": 3, "step": 4}', "the key 'step' comes twice"),
  ],
)
def test_a_bad_line_of_metrics_is_named_and_not_dropped(tmp_path, bad, said):
  lines(tmp_path, GOOD, bad, GOOD, "")
  for read in (read_metrics, curves, held_out_metrics):
    with pytest.raises(UserError, match=said):
      read(tmp_path)
  with pytest.raises(UserError, match=said):
    Best(tmp_path, "eval_loss")


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
  for cut in ('{"step": 4, "lo', '{"st', '{"step"'):
    assert len(read_metrics(lines(tmp_path, GOOD, GOOD, cut))) == 2
  assert len(read_metrics(lines(tmp_path, GOOD, GOOD))) == 2
  assert read_metrics(lines(tmp_path, "")) == []


def test_costs_are_read_or_named(tmp_path):
  path = tmp_path / "cost.json"
  path.write_text(json.dumps(COST))
  assert read_cost(tmp_path)["positions"] == 64
  for changes, said in (
    ({"step": "x"}, "'step' is 'x', where a whole number belongs; delete it"),
    ({"seconds": {"wall": 1.0}}, "'seconds' has not exactly 'wall' and 'cpu'"),
    ({"seconds": {"wall": [], "cpu": 1}}, "'wall' is \\[\\], where a number"),
    ({"compile_seconds": None}, "'compile_seconds' is None, where a number"),
    ({"versions": []}, "'versions' is \\[\\], where a JSON object belongs"),
  ):
    path.write_text(json.dumps(COST | changes))
    with pytest.raises(UserError, match=said):
      read_cost(tmp_path)
  path.write_text(json.dumps({k: v for k, v in COST.items() if k != "tokens"}))
  with pytest.raises(UserError, match="has no 'tokens'; delete it"):
    read_cost(tmp_path)
