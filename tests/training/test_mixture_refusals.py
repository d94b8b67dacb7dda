"""Mixtures and views that a run refuses, and why."""

import pytest
from mixed import rated, write_sources
from runs import refused, write

from offalign import data


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with sources of three forms."""
  monkeypatch.chdir(tmp_path)
  write_sources()


REFUSED = [
  (
    "dro_v",
    {"data.path": "a.jsonl:1,b.jsonl"},
    "--cfg.data.path: 'b.jsonl' has no weight, but others",
  ),
  (
    "dro_v",
    {"data.path": "a.jsonl:1,b.jsonl:0"},
    "--cfg.data.path: source 'b.jsonl' has the weight 0",
  ),
  (
    "dro_v",
    {"data.path": "a.jsonl:1,b.jsonl:0.0001"},
    "--cfg.data.path: source 'b.jsonl' has so small a weight that an epoch",
  ),
  (
    "dro_v",
    {"data.path": "a.jsonl:1,empty.jsonl:1"},
    "--cfg.data.path: empty.jsonl has no rows",
  ),
  (
    "dpo",
    {"data.path": "p.jsonl:1,t.jsonl:1"},
    "training, t.jsonl: no row is left for this loss: ",
  ),
  (
    "dpo",
    {"data.path": "p.jsonl", "data.pairs": "random"},
    "--cfg.data.pairs is set, but the data has pairs already; leave it out",
  ),
  (
    "dpo",
    {
      "data.path": "p.jsonl",
      "data.pairs": "random",
      "data.eval_path": "a.jsonl",
      "data.eval_fraction": None,
    },
    "--cfg.data.pairs is set, but the data has pairs already; leave it out",
  ),
  (
    "grpo",
    {"data.path": "a.jsonl:1,b.jsonl:1"},
    "a.jsonl makes groups of 4 completions and b.jsonl groups of 2; give "
    "--cfg.data.group_size",
  ),
  (
    "dro_v",
    {"data.path": "a.jsonl:1,one.jsonl:1", "data.eval_fraction": 0.5},
    "--cfg.data.eval_fraction=0.5 holds out 1 row of one.jsonl, which are all",
  ),
  (
    "dro_v",
    {"data.eval_path": "b.jsonl:1,t.jsonl:1", "data.eval_fraction": None},
    "--cfg.data.eval_path: weights are of what is drawn in training",
  ),
  (
    "kto",
    {
      "data.path": "a.jsonl:1,b.jsonl:1",
      "data.eval_path": "c.jsonl",
      "data.eval_fraction": None,
    },
    "the sources have label thresholds of their own",
  ),
  (
    "dro_v",
    {"data.normalize_by": "source"},
    "--cfg.data.normalize_by=source is set, but --cfg.data.path is no mixture",
  ),
  (
    "dro_v",
    {
      "data.path": "a.jsonl:1,b.jsonl:1",
      "data.eval_path": "c.jsonl",
      "data.eval_fraction": None,
      "data.normalize_by": "source",
    },
    "--cfg.data.normalize_by=source is set beside --cfg.data.eval_path",
  ),
  (
    "dro_v",
    {"data.normalize_by": "prompt", "data.normalize_rewards": False},
    "--cfg.data.normalize_by=prompt is set, but --nocfg.data.normalize_rew",
  ),
  (
    "dpo",
    {"data.normalize_by": "prompt"},
    "--cfg.data.normalize_by is set, but loss 'dpo' reads no rewards; leave",
  ),
  (
    "dro_v",
    {"data.path": "b.jsonl", "data.normalize_by": "prompt"},
    "the rewards cannot be normalised by prompt: no prompt has two different",
  ),
  (
    "dro_v",
    {"data.best_of_n": 2},
    "--cfg.data.best_of_n is set, but this loss does more than imitate",
  ),
  (
    "sft",
    {"data.best_of_n": 2, "data.top_fraction": 0.5},
    "--cfg.data.best_of_n is set and --cfg.data.top_fraction is set; give one",
  ),
  (
    "dpo",
    {"data.min_margin": -1.0},
    "--cfg.data.min_margin must be a number above 0, not -1.0",
  ),
  (
    "kto",
    {"data.label_rule": "prompt_mean", "data.label_threshold": 1.0},
    "--cfg.data.label_threshold is set, but --cfg.data.label_rule='prompt_",
  ),
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("loss", "changes", "sentence"), REFUSED)
def test_what_cannot_be_mixed_is_refused(loss, changes, sentence, tmp_path):
  write("empty.jsonl", [])
  write("one.jsonl", rated("a", 1, each=1))
  write("c.jsonl", rated("c", 4))
  if changes.get("data.path") == "b.jsonl":
    write("b.jsonl", rated("b", 8, each=1))
  if "one.jsonl" in changes.get("data.path", ""):
    held = next(f"{n} 0?" for n in "bcdefghijk" if _held_out(n))
    write("one.jsonl", [{"prompt": held, "completion": "x", "reward": 1.0}])
  given = {"data.path": "a.jsonl", **changes}
  said = refused(given.pop("data.path"), tmp_path / "out", loss=loss, **given)
  assert said.startswith(sentence)


def _held_out(name):
  """Whether this prompt, beside those of a.jsonl, is held out by seed 0."""
  record = lambda p: data.Record(p, ("x",), (1.0,), None, False, p)
  prompts = [f"a {i}?" for i in range(12)] + [f"{name} 0?"]
  _, held = data.split_by_prompt([record(p) for p in prompts], 0.5, seed=0)
  return f"{name} 0?" in {r.prompt for r in held}
