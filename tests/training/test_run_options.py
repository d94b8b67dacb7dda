"""Traces, programs kept on disk, and that a run compiles once."""

import gzip
import json

import jax
import pytest
import runs

from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError
from offalign.policy.folder import read_cost
from offalign.training import loop
from offalign.training.run import Run

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


@pytest.fixture
def log(tmp_path):
  return runs.write_log(tmp_path / "log.jsonl")


def test_a_trace_has_the_steps_that_were_asked_for(log, tmp_path):
  run = runs.train(log, tmp_path / "out", steps=6, profile=2)
  (folder,) = (run.folder / "profile" / "plugins" / "profile").iterdir()
  (board,) = folder.glob("*.xplane.pb")
  assert board.stat().st_size > 0
  (trace,) = folder.glob("*.trace.json.gz")
  events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
  steps = {
    str(event["args"]["step_num"])
    for event in events
    if event.get("name") == "train" and "step_num" in event.get("args", {})
  }
  assert steps == {"3", "4"}


def test_a_trace_ends_with_a_run_that_has_fewer_steps_left(log, tmp_path):
  out = tmp_path / "out"
  runs.train(log, out, steps=4)
  runs.train(log, out, steps=7, profile=4)
  (folder,) = (out / "profile" / "plugins" / "profile").iterdir()
  assert list(folder.glob("*.xplane.pb"))


def test_compiled_programs_are_kept_and_found(log, tmp_path):
  """A second run, and a run that goes on, compile nothing."""
  kept, events = tmp_path / "compiled", []

  def listen(event, **_):
    events.append(event.rpartition("/")[2])

  def programs():
    return {path.name for path in kept.iterdir() if "-cache" in path.name}

  def count():
    asked = events.count("compile_requests_use_cache")
    found = events.count("cache_hits")
    events.clear()
    return asked, found

  class Soon(Stop):
    def check(self):
      path = folder / "metrics.jsonl"
      self._asked = path.exists() and '"loss"' in path.read_text()
      super().check()

  def stopped():
    run = Run(runs.config(log, folder, compile_cache=str(kept)))
    with pytest.raises(Stopped):
      run.train(Soon())
    return run

  jax.monitoring.register_event_listener(listen)
  folder = tmp_path / "a"
  run = stopped()
  asked, found = count()
  assert found < asked == run.compiling.programs
  runs.train(log, tmp_path / "a", compile_cache=str(kept))
  count()
  before = programs()
  assert any("stays" in name for name in before)  # the train step
  folder = tmp_path / "b"
  cost = read_cost(stopped().folder)
  assert cost["compile_seconds"] > 0
  again = runs.train(log, tmp_path / "b", compile_cache=str(kept))
  jax.monitoring.unregister_event_listener(listen)
  asked, found = count()
  assert found == asked >= 10
  assert programs() == before
  assert runs.metrics(tmp_path / "a") == runs.metrics(tmp_path / "b")
  total = read_cost(again.folder)["compile_seconds"]
  assert total == cost["compile_seconds"] + again.compiling.seconds


def test_a_folder_for_programs_that_cannot_be_one_is_refused(log, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"^compile_cache=.* cannot be a f"):
    Run(runs.config(log, tmp_path / "a", compile_cache=str(tmp_path / "file")))


def test_a_run_compiles_in_its_first_steps_and_never_again(
  tmp_path, monkeypatch
):
  """Two epochs of rows of all lengths, in batches that do not divide them."""
  rows = [
    {"prompt": "p" * (1 + i % 13), "completion": "c" * (1 + k), "reward": k}
    for i in range(13)
    for k in range(1 + i % 3)
  ]
  log = runs.write(tmp_path / "log.jsonl", rows)
  compiled, at = [], []

  def listen(event, *_, **__):
    if event.endswith("backend_compile_duration"):
      compiled.append(event)

  step = loop.Loop._step

  def counted(self, number, state):
    at.append(len(compiled))
    return step(self, number, state)

  monkeypatch.setattr(loop.Loop, "_step", counted)
  jax.monitoring.register_event_duration_secs_listener(listen)
  run = runs.train(log, tmp_path / "out", steps=7, eval_every=3)
  jax.monitoring.unregister_event_duration_listener(listen)
  assert len(run.inputs.train) % 8
  assert run.sampler.epoch(7) > 2
  assert 0 < at[0] < at[1]
  # The first line of metrics, at step 2, computes the rate.
  assert len(set(at[2:])) == 1, at


def test_the_next_step_is_under_way_when_metrics_are_looked_at(
  log, tmp_path, monkeypatch
):
  """But for those before something that is written or computed of a state."""
  order = []
  step, settle = loop.Loop._step, loop.check_finite
  evaluate, save = loop.evaluate, loop.Loop._save

  def noted(name, function, number):
    def call(*args, **kwargs):
      order.append(f"{name} {number(args)}".strip())
      return function(*args, **kwargs)

    return call

  monkeypatch.setattr(loop.Loop, "_step", noted("step", step, lambda a: a[1]))
  monkeypatch.setattr(
    loop, "check_finite", noted("seen", settle, lambda a: a[0])
  )
  monkeypatch.setattr(
    loop, "evaluate", noted("evaluate", evaluate, lambda a: "")
  )
  monkeypatch.setattr(
    loop.Loop, "_save", noted("save", save, lambda a: int(a[1].step))
  )
  runs.train(
    log, tmp_path / "out", steps=7, log_every=1, eval_every=4, save_every=5
  )
  assert order == [
    *("evaluate", "step 1", "seen 1"),  # the first one compiles
    *("step 2", "step 3", "seen 2", "step 4", "seen 3", "seen 4", "evaluate"),
    *("step 5", "save 5", "seen 5"),
    *("step 6", "step 7", "seen 6", "seen 7", "evaluate", "save 7"),
  ]


def test_a_new_model_aligned_against_itself_is_warned_of(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  said = Run(runs.config(log, tmp_path / "a"))._said
  (warning,) = [runs.in_flags(s) for s in said if s.startswith("warning")]
  assert warning == (
    "warning: the model is new, and dro_v would align its random weights "
    "against themselves: first train a run with --cfg.loss=sft and begin this "
    "one with --cfg.init=RUN, or begin with a checkpoint, --cfg.model=FOLDER"
  )
  other = Run(runs.config(log, tmp_path / "b", loss="sft"))._said
  assert not [s for s in other if s.startswith("warning")]
