"""The best checkpoint by a judge's win rate against the starting policy."""

import json
import shutil
import zlib

import chex
import pytest
import runs
from absl import flags as absl_flags

from offalign.config import Config
from offalign.config.select import SelectConfig
from offalign.distributed import sharding
from offalign.distributed.signals import Stop
from offalign.errors import UserError
from offalign.generation import completions
from offalign.generation.completing import complete, encode
from offalign.judges import Gold
from offalign.learner.optim import OptimizerConfig
from offalign.policy import start
from offalign.policy.best import WIN_RATE
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import read_about
from offalign.programs import flags
from offalign.programs.generate import generate
from offalign.training.run import Run
from offalign.training.selection import Unjudged

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]
FAST = OptimizerConfig(learning_rate=0.01)


def arbitrary(prompt, completion):
  """Rewards nothing that is learned, so the best may be any step."""
  return zlib.crc32(f"{prompt}|{completion}".encode()) % 97


def select(**changes):
  given = {
    "judge": f"gold(fn='{__name__}:arbitrary')",
    "every": 2,
    "prompts": 3,
  }
  return SelectConfig(**given | changes)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


def train(log, out, **changes):
  given = {"steps": 8, "keep": 1, "select": select(), "optimizer": FAST}
  return runs.train(log, out, **given | changes)


def win_rates(folder):
  return {
    line["step"]: line[WIN_RATE]
    for line in runs.metrics(folder)
    if WIN_RATE in line
  }


def texts_of(run, step, max_new_tokens=8):
  """What a checkpoint's policy completes the selection's prompts with."""
  model = start.model_of(run.folder, read_about(run.folder))
  params = start.restore(run.folder, model, sharding.one_device(), step)
  prompts = run._selection.prompts
  tokenizer = run.inputs.tokenizer
  found = complete(
    model,
    params,
    tokenizer,
    encode(tokenizer, prompts, 16)[0],
    stream="0/policy",
    max_new_tokens=max_new_tokens,
    batch_size=len(prompts),
  )
  return [x.text for x in found]


def test_the_policy_that_wins_most_is_kept_whatever_stops_the_run(
  log, tmp_path, monkeypatch
):
  run = train(log, tmp_path / "whole")
  found = win_rates(run.folder)
  assert sorted(found) == [2, 4, 6, 8]
  assert len(set(found.values())) > 1
  best = max(sorted(found), key=lambda step: found[step])
  # The last was saved before it was compared, beside the best till then.
  before = max((2, 4, 6), key=lambda step: found[step])
  with Checkpoints(run.folder) as checkpoints:
    assert checkpoints.steps == sorted({before, 8})
    assert best in checkpoints.steps
  about = read_about(run.folder)
  assert about["config"]["keep_best"] == WIN_RATE
  assert about["config"]["select.judge"] == select().judge
  assert choose(run.folder, "best", about["config"]["keep_best"]) == best
  # The same from the checkpoints alone, judged by hand.
  others = completions.read(run.folder / "select" / "reference.jsonl")
  assert others.prompts == run._selection.prompts
  for step in {before, 8}:
    texts = zip(others.prompts, texts_of(run, step), others.texts, strict=True)
    scores = [(arbitrary(x, a), arbitrary(x, b)) for x, a, b in texts]
    wins = [(a > b) + (a == b) / 2 for a, b in scores]
    assert sum(wins) / 3 == pytest.approx(found[step])
  # Held-out metrics stand beside it where both are due.
  last = {
    k: v for line in runs.metrics(run.folder)[-2:] for k, v in line.items()
  }
  assert last["eval_win_rate/judged"] == 1.0
  assert {"eval_loss", "eval_win_rate/ties"} < set(last)
  assert 0 <= last["eval_win_rate/unfinished"] <= 1
  _check_cut(log, tmp_path / "cut", run, monkeypatch)


def _check_cut(log, folder, whole, monkeypatch):
  """A judge that fails at step 6 stops the run, which then goes on."""
  compare, calls = Gold.compare, []

  def fails_once(judge, *args):
    calls.append(args)
    if len(calls) == 3:
      raise UserError("no answer")
    return compare(judge, *args)

  monkeypatch.setattr(Gold, "compare", fails_once)
  with pytest.raises(Unjudged, match=r"^select\.judge=.*: no answer"):
    train(log, folder)
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.latest == 6
  assert 6 not in win_rates(folder)
  resumed = train(log, folder)
  assert len(calls) == 5
  assert runs.metrics(folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(resumed), runs.state_of(whole))
  with Checkpoints(folder) as one, Checkpoints(whole.folder) as other:
    assert one.steps == other.steps


def test_the_other_side_may_be_a_run_or_a_file(log, tmp_path):
  first = train(log, tmp_path / "first", select=None, steps=2)
  second = train(
    log,
    tmp_path / "second",
    steps=2,
    select=select(against=str(first.folder)),
  )
  reference = second.folder / "select" / "reference.jsonl"
  prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
  prompts.write_text(reference.read_text())
  assert generate(first.folder, prompts, out, max_new_tokens=8) == 2
  written = completions.read(out)
  assert written.texts == completions.read(reference).texts
  row = json.loads(out.read_text().splitlines()[0])
  assert set(row) == {"prompt", "completion", "tokens", "finished"}
  judged = tmp_path / "judged"
  given = [f"--a={second.folder}", f"--b={out}", f"--prompts={prompts}"]
  given += [f"--judge={select().judge}", f"--out={judged}", "--step=2"]
  assert runs.judge_command(*given, "--judge=gold", "--step=2") == 2
  assert not judged.exists()  # nothing is written for a judge there is not
  assert runs.judge_command(*given, "--max_new_tokens=8") == 0
  written = completions.read(judged / "second.jsonl")
  assert written.prompts == second._selection.prompts
  assert runs.judge_command(*given) == 2  # never over another checkpoint's
  # A file with the same completions is the same other side.
  third = Run(
    runs.config(
      log, tmp_path / "third", keep=1, select=select(against=str(out))
    )
  )
  third._selection.prepare(third.learner.model, None, Stop())
  copied = completions.read(third.folder / "select" / "reference.jsonl")
  assert copied.texts == completions.read(reference).texts
  shutil.rmtree(third.folder)
  out.write_text(out.read_text().splitlines()[0])
  with pytest.raises(UserError, match="no completion of 2 of the 3 held-out"):
    third._selection.prepare(third.learner.model, None, Stop())


def test_completions_that_did_not_end_are_counted(log, tmp_path, capsys):
  chosen = select(max_new_tokens=1, prompts=2)
  run = train(log, tmp_path / "run", steps=2, select=chosen)
  said = capsys.readouterr().out
  assert "selection: completions of 1 tokens at most" in said
  assert "2 of 4 held-out prompts are completed (select.prompts)" in said
  others = completions.read(run.folder / "select" / "reference.jsonl")
  cut = completions.cuts(others.ends, 2)
  assert cut.unknown == 0
  sentence = f"the other side: {cut.unfinished} of 2 completions did not end"
  assert (sentence in said) == bool(cut.unfinished)
  (line,) = [x for x in runs.metrics(run.folder) if WIN_RATE in x]
  texts = texts_of(run, 2, max_new_tokens=1)
  assert line["eval_win_rate/unfinished"] == sum(map(bool, texts)) / 2


def test_the_default_limit_is_the_longest_of_the_data(tmp_path):
  rows = [
    {"prompt": f"{i}?", "completion": "la" * 165, "reward": i % 3}
    for i in range(16)
  ]
  log = tmp_path / "long.jsonl"
  log.write_text("".join(json.dumps(row) + "\n" for row in rows))

  def limit(**more):
    config = runs.config(log, tmp_path / "run", select=select(), **more)
    return Run(config)._selection._longest

  assert limit(data__max_completion=256) == 331
  assert limit(data__max_completion=64) == 64


def test_what_cannot_be_selected_by_is_refused(log, tmp_path):
  out = tmp_path / "out"

  def refused(**changes):
    return runs.refused(log, out, **{"select": select()} | changes)

  assert "no prompts are held out" in refused(data__eval_fraction=0.0)
  assert "keeps the best by win rate" in refused(keep_best="eval_loss")
  assert "trains a reward model" in refused(loss="bradley_terry")
  assert "--cfg.select.judge=glod: there is no judge 'glod'" in refused(
    select=select(judge="glod")
  )
  sentence = refused(select=None, keep_best=WIN_RATE)
  assert f"{WIN_RATE} is no held-out metric of this run" in sentence


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    (["--cfg.select.every=2"], "--cfg.select.judge is missing"),
    (
      ["--cfg.select.judge=x", "--cfg.select.prompts=0"],
      "--cfg.select.prompts must be at least 1, not 0",
    ),
    (
      ["--cfg.select.judge=x", "--cfg.select.temperature=-1"],
      "--cfg.select.temperature must be 0 or above",
    ),
    (
      ["--cfg.select.judge=x", "--cfg.select.seed=-1"],
      "--cfg.select.seed must be 0 or more, not -1",
    ),
  ],
)
def test_the_flags(given, sentence):
  values = absl_flags.FlagValues()
  flags.define(Config, "cfg", values)
  values(["train", "--cfg.select.judge=gold", "--cfg.select.every=3"])
  read = flags.read(Config, "cfg", values)
  assert read.select == SelectConfig(judge="gold", every=3)
  values = absl_flags.FlagValues()
  flags.define(Config, "cfg", values)
  values(["train", *given])
  with pytest.raises(UserError) as error:
    flags.read(Config, "cfg", values)
  assert sentence in runs.in_flags(error.value)
