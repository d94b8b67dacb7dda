"""The command line of a sweep: braces in flags, mistakes, and exit statuses."""

import json

import pytest
import runs
import sweeps
from absl import flags as absl_flags

from offalign.compare.sweep import GRID
from offalign.config import Config
from offalign.distributed.signals import Stopped
from offalign.errors import UserError
from offalign.programs import flags as flags_lib
from offalign.programs import sweep as sweep_lib
from offalign.sweeping import record
from offalign.training.health import Diverged


@pytest.fixture
def flags(monkeypatch):
  values = absl_flags.FlagValues()
  flags_lib.define(Config, values=values)
  monkeypatch.setattr(absl_flags, "FLAGS", values)
  return values


def planned(*argv, seeds=1):
  rest = sweep_lib.expand(["sweep", *argv])
  axes, cells = sweep_lib.plan(sweep_lib._given, sweep_lib._braces, seeds)
  return rest[1:], axes, cells


def test_each_cell_is_read_as_train_would_read_it(flags):
  rest, axes, cells = planned(
    "--cfg.loss=dro_v(tau={0.3,1})",
    "--cfg.optimizer.learning_rate",
    "{1e-5,1e-4}",
    "--cfg.steps=4",
    "--nocfg.packing",
    "--seeds=2",
    seeds=2,
  )
  assert rest == [
    "--cfg.loss=dro_v(tau=0.3)",
    "--cfg.optimizer.learning_rate=1e-5",
    "--cfg.steps=4",
    "--nocfg.packing",
    "--seeds=2",
  ]
  assert [axis.name for axis in axes] == ["tau", "learning_rate"]
  assert len(cells) == 8
  config = cells[-1][1]
  assert config.loss == "dro_v(tau=1)"
  assert config.optimizer.learning_rate == 1e-4
  assert (config.steps, config.packing) == (4, False)


@pytest.mark.usefixtures("flags")
def test_braces_may_stand_for_switches_and_whole_numbers():
  _, _, cells = planned("--cfg.packing={true,false}", "-cfg.steps={4,8}")
  found = [(config.packing, config.steps) for _, config in cells]
  assert found == [(True, 4), (True, 8), (False, 4), (False, 8)]


@pytest.mark.usefixtures("flags")
def test_the_last_of_two_flags_counts():
  _, axes, cells = planned("--cfg.steps={4,8}", "--cfg.steps=2")
  assert axes == ()
  assert [config.steps for _, config in cells] == [2]


@pytest.mark.usefixtures("flags")
def test_a_value_that_cannot_be_is_named():
  with pytest.raises(UserError, match=r"cfg\.steps=x"):
    planned("--cfg.steps={4,x}")
  with pytest.raises(UserError, match="does not close"):
    planned("--cfg.loss=dro_v(tau={1,2)")


def swept(*argv):
  return runs.program(sweep_lib, *argv)


ARGUMENTS = (
  "--cfg.data.path=log.jsonl",
  "--cfg.loss=dro_v(tau={0.3,1})",
  "--cfg.out=sweep",
)


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ((), "--cfg.out is missing"),
    ((*ARGUMENTS, "--cfg.seed=1"), "--cfg.seed is set, and a sweep counts"),
    ((*ARGUMENTS, "--limit=4"), "--limit is for a judge, and none is given"),
    ((*ARGUMENTS, "--judge=none.py:f"), "there is no file none.py"),
    ((*ARGUMENTS, "more"), "what is 'more'? Give flags that begin"),
    (("--cfg.out={a,b}",), "--cfg.out has braces, of which a sweep has one"),
    ((*ARGUMENTS, "--cfg.lossy=dpo"), "Unknown command line flag 'cfg.lossy'"),
    ((*ARGUMENTS, "--cfg.batch_size={4,0}"), "--cfg.batch_size must be at"),
  ],
)
def test_a_mistake_is_one_sentence(
  arguments, sentence, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  assert swept(*arguments) == 2
  said = capsys.readouterr().err
  assert said.startswith("offalign.sweep: ")
  assert sentence in said
  assert said.count("\n") == 1
  assert list(tmp_path.iterdir()) == []


@pytest.fixture
def fake(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  return sweeps.fake(monkeypatch)


def test_ctrl_c_ends_with_130_and_sigterm_with_0(fake, capsys):
  fake.errors |= {
    "tau=0.3_seed=0": Stopped("interrupted: step 2 is kept", interrupted=True)
  }
  assert swept(*ARGUMENTS) == 130
  assert "interrupted: step 2 is kept" in capsys.readouterr().err
  fake.errors |= {"tau=0.3_seed=0": Stopped("asked to stop: step 2 is kept")}
  assert swept(*ARGUMENTS) == 0
  assert "asked to stop: step 2 is kept" in capsys.readouterr().out


def test_failed_cells_make_the_status_1_and_the_page_is_there(
  fake, tmp_path, capsys
):
  fake.errors |= {
    f"tau={tau}_seed=0": Diverged(f"step 3: tau {tau} diverges")
    for tau in ("0.3", "1")
  }
  assert swept(*ARGUMENTS) == 1
  said = capsys.readouterr()
  assert "tau=1_seed=0 failed: step 3: tau 1 diverges" in said.err
  assert "page: sweep/compare.html" in said.out
  page = (tmp_path / "sweep" / "compare.html").read_text()
  assert "tau 0.3 diverges" in page


SCORE = """
def score(prompt, completion):
  return len(completion)
"""


def test_a_sweep_from_flags_ends_in_the_page_of_a_comparison(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  runs.write_log("log.jsonl")
  (tmp_path / "my_score.py").write_text(SCORE)
  runs.train("log.jsonl", "sft", loss="sft", steps=1)
  given = runs.flags(
    "log.jsonl",
    "sweep",
    steps=1,
    init="sft",
    model=None,
    tokenizer=None,
    loss="dro_v(tau={0.3,1})",
  )
  arguments = (*runs.as_args(given), "--judge=my_score.py:score", "--limit=4")
  assert swept(*arguments) == 0
  said = capsys.readouterr().out
  assert "cell 2 of 2: tau=1_seed=0" in said
  assert "tau=0.3: win rate " in said
  folder = tmp_path / "sweep"
  page = (folder / "compare.html").read_text()
  for head in ("Grid", "Options", "Results", "Completions side by side"):
    assert f">{head}</h2>" in page
  assert "win rate against sft" in page
  found = json.loads((folder / GRID).read_text())
  assert found["measure"] == "win rate"
  assert found["kl"] == "sampled"
  moved = [one["kl"] for one in found["options"]]
  assert all(abs(x) < 0.5 for x in moved)  # of one step at 1e-5
  assert (folder / "rows.jsonl").read_text().count("\n") == 3
  done = record.read(folder)
  assert len(done.done) == 2
  # The same command trains nothing, and another judge samples nothing.
  assert swept(*runs.as_args(given)) == 0
  said = capsys.readouterr().out
  assert "0 of them to train" in said
  page = (folder / "compare.html").read_text()
  assert "No judge was given" in page
  assert not (folder / "rows.jsonl").exists()
