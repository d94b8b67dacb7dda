"""Merges of run folders: what they hold, what opens them, what is refused."""

import json
import shutil

import merges
import numpy as np
import pytest
import runs

from offalign.data import Record
from offalign.errors import UserError
from offalign.models.lora import LoraConfig
from offalign.policy import held_out
from offalign.policy.merging.merge import KEY, merge_runs
from offalign.policy.policy import Policy
from offalign.policy.reward_model import Rewards
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return tmp_path_factory.mktemp("merges")


@pytest.fixture(scope="module")
def log(root):
  return runs.write_log(root / "log.jsonl", prompts=8)


@pytest.fixture(scope="module")
def three(log, root):
  """Three policies that began alike."""
  return [merges.write(log, root / f"p{i}", i, (2, 4)) for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def rewards(log, root):
  """Two reward models that began alike."""
  given = {"loss": "bradley_terry"}
  return [merges.write(log, root / f"r{i}", i, **given) for i in (1, 2)]


def close(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    np.testing.assert_allclose(found[name], x, rtol=1e-6, atol=1e-7)


def equal(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    np.testing.assert_array_equal(found[name], x)


def test_a_mean_is_a_run_folder(three, tmp_path):
  merged = merge_runs(three, tmp_path / "m", weights=[2, 1, 1])
  each = [merges.weights(run) for run in three]
  close(
    merges.weights(tmp_path / "m"),
    {
      name: (2 * a + each[1][name] + each[2][name]) / 4
      for name, a in each[0].items()
    },
  )
  assert merged.step == 4
  kept = json.loads((tmp_path / "m" / "run.json").read_text())[KEY]
  assert kept["how"] == "mean"
  assert [(x["run"], x["step"], x["share"]) for x in kept["runs"]] == [
    (str(run), 4, share)
    for run, share in zip(three, (0.5, 0.25, 0.25), strict=True)
  ]
  assert len({x["weights"] for x in kept["runs"]}) == 3
  (done,) = merged.generate(["is 3?"], max_new_tokens=3, verbose=False)
  assert done.tokens <= 3
  assert len(merged.tokenizer.encode_prompts(["is 3?"])) == 2
  merged.export(tmp_path / "hf", verbose=False)
  close(
    merges.weights(tmp_path / "hf"),
    merges.weights(tmp_path / "m"),
  )


def test_another_run_starts_from_it_and_it_does_not_go_on(three, log, tmp_path):
  out = tmp_path / "m"
  merge_runs(three[:2], out, verbose=False)
  run = Run(
    runs.config(
      log, tmp_path / "child", init=str(out), model=None, tokenizer=None
    )
  )
  equal(
    {k: np.float64(v) for k, v in merges.flat(run._first).items()},
    merges.weights(out),
  )
  with pytest.raises(UserError, match=r"is a merge of runs, and has no optim"):
    Run(runs.config(log, out))
  # A merge is merged like any run.
  merge_runs([out, three[2]], tmp_path / "again", weights=[2, 1])
  merge_runs(three, tmp_path / "at once")
  close(
    merges.weights(tmp_path / "again"), merges.weights(tmp_path / "at once")
  )


def test_the_mean_of_identical_runs_is_that_run_to_the_bit(three, tmp_path):
  for i in range(2):
    shutil.copytree(three[0], tmp_path / str(i))
  same = [three[0], tmp_path / "0", tmp_path / "1"]
  merge_runs(same, tmp_path / "m")
  equal(merges.weights(tmp_path / "m"), merges.weights(three[0]))


def test_the_order_of_a_mean_is_all_one_to_the_bit(three, tmp_path):
  a, b, c = three
  merge_runs([a, b, c], tmp_path / "abc", weights=[1, 2, 3])
  merge_runs([c, a, b], tmp_path / "cab", weights=[3, 1, 2])
  equal(merges.weights(tmp_path / "abc"), merges.weights(tmp_path / "cab"))


def test_ema_goes_over_the_checkpoints_in_order(three, tmp_path):
  merged = merge_runs([three[0]], tmp_path / "m", how="ema", decay=0.75)
  first, last = (merges.weights(three[0], step) for step in ("2", "4"))
  close(
    merges.weights(tmp_path / "m"),
    {name: 0.75 * x + 0.25 * last[name] for name, x in first.items()},
  )
  assert [x["step"] for x in merged.about[KEY]["runs"]] == [2, 4]
  with pytest.raises(UserError, match="names one checkpoint, and ema needs"):
    merge_runs([three[0]], tmp_path / "x", how="ema", steps=["2"])


def test_steps_choose_checkpoints_of_one_run(three, tmp_path):
  merge_runs([three[0]] * 2, tmp_path / "m", steps=[2, 4])
  first, last = (merges.weights(three[0], step) for step in ("2", "4"))
  close(
    merges.weights(tmp_path / "m"),
    {name: (x + last[name]) / 2 for name, x in first.items()},
  )


def test_ties_counts_from_what_the_runs_began_with(three, log, tmp_path):
  start = merges.write(log, tmp_path / "start")
  options = {"how": "ties", "density": 0.3}
  found = merge_runs(three, tmp_path / "m", **options)
  merge_runs(three, tmp_path / "named", base=start, **options)
  equal(merges.weights(tmp_path / "m"), merges.weights(tmp_path / "named"))
  assert found.about[KEY]["base"] == found.about["start"]
  base, each = merges.weights(start), [merges.weights(x) for x in three]
  changed = [
    np.concatenate([np.abs(x[k] - base[k]).ravel() for k in base]) for x in each
  ]
  least = [np.quantile(x, 0.7) for x in changed]
  for name, x in merges.weights(tmp_path / "m").items():
    kept = [
      np.where(np.abs(one[name] - base[name]) > q, one[name] - base[name], 0)
      for one, q in zip(each, least, strict=True)
    ]
    sign = np.sign(sum(kept))
    agree = [(np.sign(y) == sign) & (sign != 0) for y in kept]
    total = sum(y * ok for y, ok in zip(kept, agree, strict=True))
    expected = base[name] + total / np.maximum(sum(agree), 1)
    near = np.isclose(x, expected, rtol=1e-4, atol=1e-5)
    assert near.mean() > 0.98  # float64 and float32 may trim another change


def test_adapters_are_merged_as_whole_weights(log, tmp_path):
  """Not the mean of A times the mean of B."""
  pair = [
    merges.write(log, tmp_path / f"l{i}", i, lora=LoraConfig(rank=2))
    for i in (1, 2)
  ]
  merged = merge_runs(pair, tmp_path / "m", verbose=False)
  a, b = (merges.weights(run) for run in pair)
  close(
    merges.weights(tmp_path / "m"),
    {name: (x + b[name]) / 2 for name, x in a.items()},
  )
  shutil.rmtree(tmp_path / "l1")
  assert merged.about["config"]["lora"] is None
  full = merges.write(log, tmp_path / "full")
  with pytest.raises(UserError, match=r"adapters .LoRA. and all weights"):
    merge_runs([pair[1], full], tmp_path / "x")


def test_reward_models_average_trunk_and_head(rewards, tmp_path):
  out = tmp_path / "m"
  merge_runs(rewards, out)
  pairs = [("is 3 a number?", "yes"), ("is 3 a number?", "no, 2")]
  scores, _, _ = Rewards(out, "newest", 2).of(pairs)
  assert np.isfinite(scores).all()
  for i in range(2):
    shutil.copytree(rewards[0], tmp_path / str(i))
  merge_runs([tmp_path / "0", tmp_path / "1"], tmp_path / "same")
  np.testing.assert_array_equal(
    Rewards(tmp_path / "same", "newest", 2).of(pairs)[0],
    Rewards(rewards[0], "newest", 2).of(pairs)[0],
  )
  with pytest.raises(UserError, match="trained a reward model"):
    Policy.load(out).generate(["hi"])


def test_rows_that_all_hold_out_are_kept(three, tmp_path):
  rows = [
    Record(f"q{i}", ("a",), (1.0,), None, False, f"log:{i}") for i in range(4)
  ]
  pair = [tmp_path / "a", tmp_path / "b"]
  for run, source, held in zip(pair, three, (rows[:3], rows[1:]), strict=False):
    shutil.copytree(source, run)
    trained = [row.prompt for row in rows if row not in held]
    held_out.write(run, held, trained, None)
  merged = merge_runs(pair, tmp_path / "m")
  assert merged.held_out() == ["q1", "q2"]
  known = held_out.read_known(tmp_path / "m")
  assert known.held == {held_out.number(f"q{i}") for i in (1, 2)}
  assert known.trained == {held_out.number(f"q{i}") for i in (0, 3)}


class TestRefusals:
  @pytest.mark.parametrize(
    ("options", "error"),
    [
      ({"how": "sum"}, "how='sum' is no merge: choose one of mean, slerp"),
      ({"density": 0.5}, "density=0.5 is for ties, and this merge is mean"),
      ({"how": "ties", "decay": 0.5}, "decay=0.5 is for ema"),
      ({"how": "slerp"}, "slerp is of two runs, not 3"),
      ({"how": "ema"}, "ema averages the checkpoints of one run, not 3 runs"),
      ({"weights": [1, 2]}, "weights are 2, and there are 3 runs"),
      ({"steps": [2, 4]}, "steps are 2, and there are 3 runs"),
      ({"steps": [3]}, "has no checkpoint '3'"),
      (
        {"how": "ties", "density": 0},
        "density=0.0 must be above 0 and at most",
      ),
      ({"how": "ties", "scale": -1}, "scale=-1.0 must be above 0"),
      (
        {"how": "ties", "base": "nowhere"},
        "base=nowhere: nowhere is not a run",
      ),
    ],
  )
  def test_options(self, three, tmp_path, options, error):
    with pytest.raises(UserError, match=error):
      merge_runs(three, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()

  def test_too_few_or_the_same(self, three, tmp_path):
    for given in ([], three[:1]):
      with pytest.raises(UserError, match="is of two runs or more"):
        merge_runs(given, tmp_path / "m")
    with pytest.raises(UserError, match="at step 4 comes twice"):
      merge_runs([three[0], three[0]], tmp_path / "m")
    with pytest.raises(UserError, match="runs is one name"):
      merge_runs(str(three[0]), tmp_path / "m")
    with pytest.raises(UserError, match="is there already"):
      merge_runs(three, three[0])

  def test_runs_of_other_kinds(self, three, rewards, log, tmp_path):
    wide = merges.write(
      log, tmp_path / "wide", model="decoder(width=8, layers=1, heads=2)"
    )
    for other, error in (
      (rewards[0], "trained different things: a policy and a reward model"),
      (wide, "are of different networks: decoder.width=16"),
    ):
      with pytest.raises(UserError, match=error):
        merge_runs([three[0], other], tmp_path / "m")
    spelt = tmp_path / "spelt"
    shutil.copytree(three[1], spelt)
    about = json.loads((spelt / "run.json").read_text())
    (spelt / "run.json").write_text(json.dumps(about | {"tokenizer": "other"}))
    with pytest.raises(UserError, match="have different tokenizers"):
      merge_runs([three[0], spelt], tmp_path / "m")

  def test_numbers_that_are_not_finite(self, three, log, tmp_path):
    bad = merges.write(log, tmp_path / "bad", noise=-1)
    with pytest.raises(UserError, match="has numbers that are not finite"):
      merge_runs([three[0], bad], tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert not [x for x in tmp_path.iterdir() if x.name.startswith(".")]
