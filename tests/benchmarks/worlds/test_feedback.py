"""The world of real preferences, on made-up ones of the same form."""

import json

import conversations_files
import numpy as np
import pytest
from absl import flags

from benchmarks import cells, ops_log, ops_policy, run
from benchmarks.methods import Method
from benchmarks.ops_feedback import pairs
from benchmarks.recorder import SCALE, Recorder
from benchmarks.worlds.feedback import Feedback
from benchmarks.worlds.setting import Setting
from offalign import leaderboard, losses
from offalign.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return conversations_files.save(tmp_path_factory.mktemp("data"), 120)


@pytest.fixture(scope="module")
def world(folder):
  return Feedback(folder, reading=2, steps=2)


@pytest.fixture
def given():
  """Gives the flags of benchmarks.run other values until the test ends."""
  named = []

  def give(**values):
    named.extend(values)
    words = [f"--{name}={value}" for name, value in values.items()]
    flags.FLAGS.unparse_flags()
    flags.FLAGS(["benchmarks.run", *words])

  yield give
  for name in named:
    flags.FLAGS[name].unparse()
  flags.FLAGS.unparse_flags()


def rows(world, stream, n=10_000):
  found = world.prompts_of(stream, n, world.generator(stream, 0))
  return {tuple(row) for row in found.tolist()}, found


def test_test_prompts_are_no_others_prompts(world):
  test, found = rows(world, "test")
  assert len(test) == len(found) > 5  # none comes twice
  for stream in ("train", "sft", "validation"):
    assert not test & rows(world, stream)[0], stream
  assert not rows(world, "validation")[0] & rows(world, "train")[0]
  with pytest.raises(UserError, match="no prompts belong to 'labels'"):
    world.prompts_of("labels", 3, world.generator("labels", 0))


def test_a_log_has_other_pairs_with_each_seed_and_no_telling_order(world):
  first, again, other = (world.given(seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first.tokens, again.tokens)
  assert (first.prompts != other.prompts).any()
  n = len(first.prompts)
  assert n == round(0.8 * len(rows(world, "train")[1]))
  assert first.rewards.sum(axis=1).tolist() == [1.0] * n
  assert 0.2 < first.rewards[:, 0].mean() < 0.8
  # The made-up chosen replies are the short ones.
  lengths = first.mask.sum(axis=-1)
  best = first.rewards.argmax(axis=1)
  at = np.arange(n)
  assert (lengths[at, best] < lengths[at, 1 - best]).all()
  assert pairs(first.rewards).ties == 0


def test_demonstrations_answer_their_prompts(world):
  _, prompts = rows(world, "sft", 50)
  tokens, mask = world.demonstrations(prompts, world.generator("labels", 0))
  assert tokens.shape == mask.shape == (50, world.completion_width)
  assert mask[:, 0].all()
  assert (tokens[~mask] == 0).all()


def test_the_judge_scores_one_reply_as_it_does_a_pair(world):
  log = world.given(0)
  both = world.gold_reward(log.prompts, log.tokens, log.mask)
  one = world.gold_reward(log.prompts, log.tokens[:, 1], log.mask[:, 1])
  np.testing.assert_allclose(one, both[:, 1], atol=2e-4)
  assert world.exact(log.prompts, log.tokens, log.mask) is None
  assert world.samples(log.prompts, log.tokens, log.mask, both) == []


def test_the_setting_has_the_worlds_own_k_and_names_no_folder(world, folder):
  setting = Setting(world)
  assert (setting.k, setting.scenario) == (2, world.scenario)
  assert setting.words == ["--world=feedback", "--data=FOLDER"]
  noisy = Setting(world, noise=0.5)
  assert noisy.scenario == f"{world.scenario}, noise=0.5"
  assert str(folder) not in " ".join(noisy.words)


def test_too_few_conversations_are_refused(tmp_path):
  conversations_files.save(tmp_path, 2)
  with pytest.raises(UserError, match="2 conversations are too few"):
    Feedback(tmp_path)


@pytest.mark.slow
def test_methods_run_and_their_rows_hold_no_text(
  small, world, folder, tmp_path, given
):
  given()
  recorder = Recorder(str(tmp_path), "command", 2)
  chosen = [Method("dpo"), Method("dro_v")]
  cells.run_ops(recorder, chosen, 1, "decoder", setting=Setting(world))
  recorder.finish([])
  found = leaderboard.read(tmp_path)[0]
  ran = [row for row in found if not row.control]
  assert [row.status for row in ran] == ["ok"] * 2, ran
  for row in ran:
    assert (row.track, row.scenario) == ("feedback", world.scenario)
    assert set(row.outcomes) == {"win_vs_sft", "reward_gain"}
    assert "exact" not in row.metrics
    assert not row.samples
  meta = json.loads((tmp_path / "meta.json").read_text())
  assert meta["scale"] == world.scale != SCALE
  assert any("the judge agrees with people on" in n for n in meta["notes"])
  written = (tmp_path / "rows.jsonl").read_text() + json.dumps(meta)
  assert "Gladly" not in written
  assert str(folder) not in written


def test_the_log_is_seen_by_every_kind_of_loss(small, world):
  base = ops_policy.prepare("decoder", setting=Setting(world))
  feedback = ops_log.collect(base, 0)
  n = len(feedback.prompts)
  assert feedback.ref_logps.shape == feedback.rewards.shape == (n, 2)
  assert np.unique(feedback.rewards).tolist() == [-1.0, 1.0]
  for spec, name, count in (
    ("dpo", "pairs, gold label", n),
    ("rebel", "pairs, rewards", n),
    ("dro_v", "single, reward", 2 * n),
    ("dro_group", "groups of 2, rewards", n),
  ):
    view, batch, _ = ops_log.view(Method(spec), losses.get(spec), feedback)
    assert (view, len(batch.prompts)) == (name, count)
  # The log-probs are the policy's own, whole rows of the same replies.
  again = ops_log.collect(base, 0)
  np.testing.assert_array_equal(feedback.ref_logps, again.ref_logps)
  assert (feedback.ref_logps < 0).all()


def test_an_absent_folder_is_a_sentence(tmp_path):
  with pytest.raises(UserError, match="no feedback in"):
    Feedback(tmp_path / "none")


@pytest.mark.parametrize(
  ("values", "said"),
  [
    ({"world": "feedback"}, "name the folder that holds hh_harmless by --data"),
    (
      {"world": "edits", "data": "x"},
      "--data has no effect with --world=edits; leave it out",
    ),
    (
      {"world": "feedback", "data": "x", "k": 4},
      "--k has no effect with --world=feedback; leave it out",
    ),
    ({"world": "feedback", "data": "x"}, "no feedback in"),
    ({"suite": "theory", "data": "x"}, "--data has no effect with"),
  ],
)
def test_flags_that_do_not_fit_are_refused(
  given, tmp_path, capsys, values, said
):
  given(**{"suite": "ops", "methods": "dpo", "out": tmp_path / "o"} | values)
  assert run.main(["benchmarks.run"]) == 2
  assert said in capsys.readouterr().err
  assert not (tmp_path / "o").exists()


def test_a_row_is_made_again_by_a_command_without_the_folders_name(given):
  given(suite="ops", world="feedback", data="/home/me/data")
  assert run._command(("suite", "world")) == (
    "python -m benchmarks.run --suite=ops --world=feedback --data=FOLDER"
  )
