"""Sweeps: which cells are trained, what they share, and how failures end."""

import dataclasses
import json
import pathlib

import pytest
import runs
import sweeps

from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError
from offalign.files import Unwritten
from offalign.reference import scoring
from offalign.sweeping import record
from offalign.training.health import Diverged
from offalign.training.sweep import run_sweep

CELLS = [f"tau={tau}_seed={seed}" for tau in ("0.3", "1") for seed in (0, 1)]


@pytest.fixture
def fake(monkeypatch):
  return sweeps.fake(monkeypatch)


def swept(folder, loss="dro_v(tau={0.3,1})", seeds=2, **options):
  given = {"data": "log.jsonl", "verbose": False} | options
  return run_sweep(loss=loss, seeds=seeds, out=folder / "sweep", **given)


def test_every_cell_has_its_folder_its_seed_and_the_shared_cache(
  fake, tmp_path
):
  found = swept(tmp_path)
  assert found.done == CELLS
  configs = list(fake.asked)
  assert [config.seed for config in configs] == [0, 1, 0, 1]
  assert [config.loss for config in configs[1:3]] == [
    "dro_v(tau=0.3)",
    "dro_v(tau=1)",
  ]
  cache = str(tmp_path / "sweep" / "cache")
  assert {config.data.cache for config in configs} == {cache}
  assert {config.data.split_seed for config in configs} == {None}
  assert fake.names() == CELLS


def test_a_cache_of_the_users_own_is_kept(fake, tmp_path):
  swept(tmp_path, data={"path": "log.jsonl", "cache": "mine"})
  assert {config.data.cache for config in fake.asked} == {"mine"}


def test_cells_that_are_done_are_not_trained_again(fake, tmp_path):
  swept(tmp_path)
  fake.names()
  assert swept(tmp_path).done == CELLS
  assert fake.names() == []
  found = swept(tmp_path, "dro_v(tau={0.3,1,3})", seeds=1)
  assert fake.names() == ["tau=3_seed=0"]
  assert set(found.others) == {CELLS[1], CELLS[3]}


def test_more_steps_train_all_cells_further(fake, tmp_path):
  swept(tmp_path, steps=4)
  fake.names()
  swept(tmp_path, steps=8)
  assert fake.names() == CELLS


def test_a_cell_of_other_options_is_refused(fake, tmp_path):
  swept(tmp_path)
  fake.names()
  with pytest.raises(UserError) as error:
    swept(tmp_path, batch_size=4)
  assert runs.in_flags(error.value) == (
    f"{tmp_path}/sweep/{CELLS[0]} holds a cell with other flags "
    "(--cfg.batch_size was 32, is 4): give the same flags to go on with it, "
    "or name another --cfg.out"
  )
  assert fake.names() == []


def test_a_run_that_the_sweep_did_not_begin_is_refused(fake, tmp_path):
  swept(tmp_path)
  fake.names()
  (tmp_path / "sweep" / record.FILE).unlink()
  with pytest.raises(UserError, match="batch_size was 32, is 4"):
    swept(tmp_path, batch_size=4)
  swept(tmp_path)  # of the same options, each run decides what is left
  assert fake.names() == CELLS


def test_a_failed_cell_does_not_lose_the_others(fake, tmp_path):
  fake.errors |= {
    CELLS[1]: Diverged("step 3: the run diverges"),
    CELLS[2]: UserError("there is no pair"),
  }
  found = swept(tmp_path)
  assert found.done == [CELLS[0], CELLS[3]]
  assert found.failed == {
    CELLS[1]: "step 3: the run diverges",
    CELLS[2]: "there is no pair",
  }
  fake.names()
  fake.errors.clear()
  # One that diverged would do so again.
  assert swept(tmp_path).failed == {CELLS[1]: "step 3: the run diverges"}
  assert fake.names() == [CELLS[2]]
  swept(tmp_path, on_divergence="warn")
  assert CELLS[1] in fake.names()


def test_one_mistake_that_no_cell_survives_is_said_once(tmp_path):
  with pytest.raises(UserError, match=r"no cell could begin: .*log\.jsonl"):
    swept(tmp_path, data=str(tmp_path / "log.jsonl"))


def test_a_full_disk_ends_the_sweep(fake, tmp_path):
  fake.errors |= {CELLS[0]: Unwritten("no room")}
  with pytest.raises(Unwritten):
    swept(tmp_path)
  assert fake.names() == CELLS[:1]


def test_a_sweep_that_is_asked_to_stop_goes_on_where_it_was(
  fake, tmp_path, monkeypatch
):
  monkeypatch.setattr("offalign.training.sweep.Stop", lambda: runs.After(4))
  with pytest.raises(Stopped, match="the cells that are trained are kept"):
    swept(tmp_path)
  assert fake.names() == CELLS[:2]
  monkeypatch.setattr("offalign.training.sweep.Stop", Stop)
  assert swept(tmp_path).done == CELLS
  assert fake.names() == CELLS[2:]


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ({"loss": "dro_v(tua={1,2})"}, "loss.*has no option 'tua'"),
    ({"loss": "{dpo,dop}"}, "loss.*'dop'"),
    ({"seed": 3}, "seed=3 is set, and a sweep counts its seeds from 0"),
    ({"steps": 0}, "steps must be at least 1"),
    ({"seeds": 0}, "seeds must be at least 1"),
  ],
)
def test_a_mistake_is_refused_before_anything_is_written(
  fake, tmp_path, options, sentence
):
  with pytest.raises(UserError, match=sentence):
    swept(tmp_path, **options)
  assert list(tmp_path.iterdir()) == []
  assert fake.names() == []


def test_the_folder_of_a_run_is_no_folder_for_a_sweep(fake, tmp_path):
  (tmp_path / "sweep").mkdir()
  (tmp_path / "sweep" / "run.json").write_text("{}")
  with pytest.raises(UserError, match="is a run folder"):
    swept(tmp_path)


def test_the_reference_pass_and_the_split_are_those_of_the_first_cell(
  tmp_path, monkeypatch
):
  log = runs.write_log(tmp_path / "log.jsonl")
  runs.train(log, tmp_path / "sft", loss="sft", steps=1)
  scored, whole = [], scoring.scored

  def counted(rows, which, *args, title=None, **options):
    if title is not None:  # of the reference, and no evaluation
      scored.append(len(which))
    return whole(rows, which, *args, title=title, **options)

  monkeypatch.setattr(scoring, "scored", counted)
  config = runs.config(log, tmp_path / "sweep", steps=6)
  options = {
    name: getattr(config, name) for name in ("steps", "batch_size", "log_every")
  }
  data = dataclasses.asdict(config.data)
  found = run_sweep(
    loss="dro_v(tau={0.3,1})",
    seeds=1,
    init=str(tmp_path / "sft"),
    data=data | {"path": log},
    out=tmp_path / "sweep",
    verbose=False,
    **options,
  )
  assert len(found.done) == 2
  # 48 completions to train on, and 16 held-out ones, each once for both cells.
  assert sum(scored) == 64
  held = {
    (tmp_path / "sweep" / name / "held_out.jsonl").read_text()
    for name in found.done
  }
  assert len(held) == 1
  measures = [cell.measure for cell in found.cells.values()]
  assert {measure.name for measure in measures} == {"accuracy"}
  assert all(measure.error > 0 for measure in measures)
  about = json.loads((pathlib.Path(found.folder) / record.FILE).read_text())
  assert about["seeds"] == 1
