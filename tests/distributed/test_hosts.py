"""Several processes on this machine, each with devices of its own."""

import contextlib
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import engines
import numpy as np
import pytest
import refits
import runs
import xla_flags

from offalign import Run
from offalign.config.grow import GrowConfig
from offalign.distributed import hosts, lost_peer
from offalign.distributed.hosts import HostsConfig
from offalign.distributed.signals import Stopped
from offalign.errors import UserError

DEVICES = 4
TIMEOUT = 10  # seconds of silence after which a process counts as gone


def free_port():
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


@contextlib.contextmanager
def launched(log, out, processes, cwd=lambda i: None, **changes):
  """Children that train together, with 4 devices between them."""
  given = runs.flags(log, str(out), **changes)
  port, children = free_port(), []
  env = xla_flags.environment(DEVICES // processes) | {
    "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
  }
  for i in range(processes):
    place = {
      "hosts.coordinator": f"127.0.0.1:{port}",
      "hosts.processes": processes,
      "hosts.process": i,
      "hosts.timeout": TIMEOUT,
    }
    flags = runs.as_args(given | (place if processes > 1 else {}))
    children.append(
      subprocess.Popen(
        [sys.executable, "-m", "offalign.train", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd(i),
      )
    )
  try:
    yield children
  finally:
    for child in children:
      child.kill()
      child.communicate()


def trained(*args, **changes):
  """What the first of the children printed; all of them must succeed."""
  with launched(*args, **changes) as children:
    ends = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0] * len(children), ends
    # Orbax remarks on a checkpoint whose writer was killed as it ended.
    remark = r"W\d{4} .*Metadata file does not exist.*\n"
    said = [re.sub(remark, "", err) for _, err in ends]
    assert said == [""] * len(children)
    for out, _ in ends[1:]:
      assert not re.sub(r"\[Gloo\].*|.*peer ranks.*", "", out).strip()
    return ends[0][0]


def assert_same(found, expected):
  assert [sorted(line) for line in found] == [sorted(line) for line in expected]
  for line, other in zip(found, expected, strict=True):
    for name in line:
      np.testing.assert_allclose(
        line[name], other[name], rtol=1e-4, atol=1e-5, err_msg=name
      )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_any_number_of_processes_trains_the_same(log, tmp_path):
  """One; two, whose checkpoint one and four then go on from."""
  mesh = {"mesh.fsdp": 2}
  said = trained(log, tmp_path / "one", 1, steps=4, **mesh)
  assert ", 4 device(s) as data=2 x fsdp=2\n" in said
  one = runs.metrics(tmp_path / "one")
  said = trained(log, tmp_path / "two", 2, steps=2, **mesh)
  assert ", 4 device(s) as data=2 x fsdp=2 of 2 processes\n" in said
  two = runs.metrics(tmp_path / "two")
  assert_same(two, one[: len(two)])
  for processes in (1, 4):
    # Moved, since a folder's run goes on only there.
    out = tmp_path / "two"
    kept = shutil.copytree(out, tmp_path / f"kept for {processes}")
    said = trained(log, out, processes, steps=4, **mesh)
    assert f"going on after step 2 of {out}\n" in said
    assert_same(runs.metrics(out), one)
    shutil.rmtree(out)
    kept.rename(out)


def wait_for(checkpoint, children):
  while not checkpoint.exists():
    assert all(child.poll() is None for child in children)
    time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_when_a_process_is_killed_the_others_say_so_and_the_run_goes_on(
  log, tmp_path
):
  out = tmp_path / "out"
  steps = {"steps": 10**6, "eval_every": 10**6, "data__eval_fraction": 0}
  step = 0
  for victim, sentence in (
    (1, f"process 1 of 2 has gone, silent for {TIMEOUT} s "),
    (0, "process 0 of 2 has gone, or cannot be reached "),
  ):
    with launched(log, out, 2, **steps) as children:
      wait_for(out / "checkpoints" / str(step + 4), children)
      children[victim].send_signal(signal.SIGKILL)
      _, err = children[1 - victim].communicate(timeout=60)
      assert children[1 - victim].returncode not in (0, None)
    assert f"offalign.train: {sentence}" in err
    assert "the run goes on from its newest checkpoint.\n" in err
    assert "stack trace" not in err
    folders = (out / "checkpoints").iterdir()
    step = max(int(f.name) for f in folders if f.name.isdigit())
  said = trained(log, out, 1, **steps | {"steps": step + 2})
  assert f"going on after step {step} of {out}\n" in said
  assert runs.metrics(out)[-1]["step"] == step + 2


SCORE = """
import os, pathlib, signal
HERE = pathlib.Path(__file__).parent

def score(prompt, text):
  if (HERE / "deadly").exists() and (HERE / "two/rounds/2.part").exists():
    os.kill(os.getpid(), signal.SIGKILL)
  with (HERE / "asked").open("a") as file:
    file.write(f"{os.getpid()}\\n")
  return len(set(text)) + text.isascii()
"""


def rounds_of(folder):
  """The arrays of the rounds of a run."""
  found = {}
  for path in sorted(folder.glob("rounds/*/samples.npz")):
    with np.load(path) as file:
      found |= {f"{path.parent.name}/{k}": file[k] for k in file.files}
  return found


def assert_same_rounds(folder, other, close=("logps",)):
  """The same samples; what models computed, to float tolerance."""
  found, expected = rounds_of(folder), rounds_of(other)
  assert found.keys() == expected.keys() != set()
  for name, array in expected.items():
    if name.endswith(close):
      np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
    else:
      np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_rounds_on_two_processes_are_those_of_one_and_survive_a_kill(tmp_path):
  lines = [{"prompt": f"p{i}"} for i in range(12)]
  runs.write(tmp_path / "prompts.jsonl", lines)
  (tmp_path / "score.py").write_text(SCORE)
  given = {
    "loss": "grpo(behaviour=logged, clip=0.2, beta=0.1)",
    "reference": "ema(0.5)",
    "data__path": None,
    "data__max_completion": None,
    "steps": None,
    "save_every": 1,
    "mesh.fsdp": 2,
    "grow.prompts": tmp_path / "prompts.jsonl",
    "grow.score": f"{tmp_path / 'score.py'}:score",
    "grow.rounds": 2,
    "grow.every": 2,
    "grow.max_new_tokens": 4,
    "grow.eval_prompts": 3,
  }
  trained(None, tmp_path / "one", 1, **given)
  (tmp_path / "asked").unlink()
  two = tmp_path / "two"
  (tmp_path / "deadly").touch()
  with launched(None, two, 2, **given) as children:
    _, err = children[1].communicate(timeout=300)
    assert children[1].returncode not in (0, None)
    children[0].wait(timeout=60)
  assert "process 0 of 2 has gone, or cannot be reached " in err
  kept = {path.name for path in (two / "rounds").iterdir()}
  assert kept == {"1", "2.part"}
  (tmp_path / "deadly").unlink()
  said = trained(None, two, 2, **given)
  assert f"going on after step 2 of {two}\n" in said
  asked = (tmp_path / "asked").read_text().splitlines()
  assert len(set(asked)) == 2  # one process of each launch
  assert_same_rounds(two, tmp_path / "one")
  assert {path.name for path in (two / "rounds").iterdir()} == {"1", "2"}
  assert_same(runs.metrics(two), runs.metrics(tmp_path / "one"))


JUDGE = """
import os, pathlib
HERE = pathlib.Path(__file__).parent

def gold(prompt, text):
  with (HERE / "judged").open("a") as file:
    file.write(f"{os.getpid()}\\n")
  return text.count("d") - len(text)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_an_engine_and_refits_serve_two_processes_as_they_do_one(tmp_path):
  """The one process is this, with 8 devices."""
  refits.reward_model(tmp_path)
  prompts = [{"prompt": f"p{i}"} for i in range(9)]
  runs.write(tmp_path / "prompts.jsonl", prompts)
  (tmp_path / "judge.py").write_text(JUDGE)
  judge = f"{tmp_path / 'judge.py'}:gold"
  grow = {
    "prompts": str(tmp_path / "prompts.jsonl"),
    "score": f"reward_model(run={str(tmp_path / 'rm')!r})",
    "refit": f"refit(judge={judge!r}, pairs=9, steps=2, replay=0.25)",
    "samples": 4,
    "rounds": 2,
    "every": 2,
    "max_new_tokens": 4,
    "eval_prompts": 3,
  }
  given = {
    "loss": "grpo(behaviour=logged, clip=0.2, beta=0.0)",
    "data__path": None,
    "data__max_completion": None,
    "steps": None,
  }
  one, two = tmp_path / "one", tmp_path / "two"
  with engines.running() as server:
    grow["sampler"] = server.spec(retries=0, workers=1)
    run = Run(runs.config("", one, **given, grow=GrowConfig(**grow)))
    run.train(verbose=False)
    asked = list(server.bodies)
    server.bodies.clear()
    flags = {f"grow.{name}": value for name, value in grow.items()}
    trained(None, two, 2, **given, **flags)
    assert server.bodies == asked  # each question once, and the probe
  pids = (tmp_path / "judged").read_text().split()
  assert len(set(pids)) == 2
  assert not list(two.glob("rounds/answers*"))
  assert_same_rounds(two, one, close=("scores",))  # of a reward model
  for name in ("labels.jsonl", "pairs.jsonl"):
    found, expected = (x / "refits" / "2" / name for x in (two, one))
    assert found.read_text() == expected.read_text() != ""
  found, expected = (
    [
      {name.replace(str(folder), ""): value for name, value in line.items()}
      for line in runs.metrics(folder / "refits" / "2" / "model")
    ]
    for folder in (two, one)
  )
  assert_same(found, expected)
  assert_same(runs.metrics(two), runs.metrics(one))


def test_what_the_first_process_makes_all_have(monkeypatch):
  sent = []

  def broadcast(x):
    sent.append(x)
    return x

  def received(x):
    del x
    return sent.pop(0)

  def make():
    return {"a": np.arange(3.0), "b": np.array(True)}

  def refuse():
    raise UserError("it fails", "grow.score")

  monkeypatch.setattr(hosts, "several", lambda: True)
  for call in (make, refuse):
    monkeypatch.setattr(hosts, "is_first", lambda: True)
    monkeypatch.setattr(hosts, "_from_first", broadcast)
    if call is refuse:
      with pytest.raises(UserError, match="it fails"):
        hosts.from_first(call)
    else:
      hosts.from_first(call)
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    monkeypatch.setattr(hosts, "_from_first", received)
    if call is refuse:
      with pytest.raises(UserError, match=r"grow\.score: it fails") as error:
        hosts.from_first(call)
      assert error.value.option == "grow.score"
    else:
      found = hosts.from_first(lambda: pytest.fail("asked twice"))
      assert found.keys() == {"a", "b"}
      np.testing.assert_array_equal(found["a"], np.arange(3.0))


def test_all_processes_meet_while_the_first_makes_what_takes_long(monkeypatch):
  """The first is played to its end, and what it sent then to another."""
  sent, looks = [], []

  def broadcast(x):
    sent.append(x)
    return x

  def stop():
    looks.append(len(sent))
    if len(looks) == 3:
      raise Stopped

  def make(meet):
    for _ in range(2):
      meet()
    return {"a": np.arange(3.0)}

  def refuse(meet):
    meet()
    raise UserError("it fails", "grow.sampler")

  def stopped(meet):
    for _ in range(9):
      meet()

  monkeypatch.setattr(hosts, "several", lambda: True)
  monkeypatch.setattr(hosts, "_LOOK", 0.0)
  for call, ends in ((make, None), (refuse, UserError), (stopped, Stopped)):
    seen = []
    for first, carry in ((True, broadcast), (False, lambda x: sent.pop(0))):
      monkeypatch.setattr(hosts, "is_first", lambda first=first: first)
      monkeypatch.setattr(hosts, "_from_first", carry)
      looks.clear()
      with pytest.raises(ends) if ends else contextlib.nullcontext() as error:
        found = hosts.from_first_watched(call, stop)
        np.testing.assert_array_equal(found["a"], np.arange(3.0))
      seen.append((len(looks), error and str(error.value)))
    assert seen[0] == seen[1]
    assert not sent


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_a_folder_that_is_not_shared_is_refused(log, tmp_path):
  homes = [tmp_path / "a", tmp_path / "b"]
  for home in homes:
    home.mkdir()
  with launched(log, "out", 2, cwd=lambda i: homes[i]) as children:
    ends = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [2, 2]
  for (_, err), who in zip(ends, ("", "process 1: "), strict=True):
    assert err == (
      f"offalign.train: {who}out is not one folder for all processes: process "
      "1 does not find there what process 0 wrote; name a folder on a file "
      "system that all of them share\n"
    )
  assert [list(home.rglob("*")) for home in homes] == [[homes[0] / "out"], []]


def test_processes_that_were_given_other_things_are_refused(monkeypatch):
  monkeypatch.setattr(hosts, "several", lambda: True)
  monkeypatch.setattr(hosts, "_gather", lambda x: np.stack([x, x]))
  hosts.agree({"data": "a", "start": None})
  change = np.array([[0, 0], [0, 1]])
  monkeypatch.setattr(hosts, "_gather", lambda x: x + change)
  with pytest.raises(UserError, match="process 1 has another 'start' than"):
    hosts.agree({"start": None, "data": "a"})


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ({"processes": 2}, "processes=2 is set, but the cluster numbers"),
    ({"process": 0}, "process=0 is set, but the cluster"),
    ({"coordinator": "a:1", "processes": 2}, "needs hosts.process too"),
    ({"coordinator": "a:1", "process": 2}, "needs hosts.processes too"),
    (
      {"coordinator": "a:1", "processes": 2, "process": 2},
      "hosts.process=2 is none of hosts.processes=2, which",
    ),
    (
      {"coordinator": "a", "processes": 2, "process": 1},
      "coordinator=a is not HOST:PORT",
    ),
    ({"timeout": 0}, "timeout must be at least 1, not 0"),
  ],
)
def test_options_that_do_not_go_together_are_refused(given, sentence):
  with pytest.raises(UserError, match=re.escape(sentence)):
    HostsConfig(**given)


FATAL = """\
E1121 06:31:14.290195    7910 coordination_service_agent.cc:289] Polled an error
F1121 06:31:14.290488    7910 client.h:80] Terminating process because the JAX \
distributed service detected fatal errors. absl::Status: UNAVAILABLE: """
SILENT = f"""{FATAL}The following tasks are unhealthy \
(stopped sending heartbeats):
3
12
The tasks have crashed. Check the task logs for an earlier error.
*** Check failure stack trace: ***
    @     0x7faf2da40634  absl::lts_20260107::log_internal::LogMessage::Send()
"""
LEADER = f"{FATAL}Either the leader task was preempted/died/restarted\n"


@pytest.mark.parametrize(
  ("said", "shown"),
  [
    (
      SILENT,
      "offalign.train: process 3 and 12 of 16 has gone, silent for 30",
    ),
    (LEADER, "offalign.train: process 0 of 16 has gone, or cannot be reached"),
    (FATAL, "offalign.train: one of the 16 processes has gone"),
  ],
)
def test_the_last_words_are_one_sentence(said, shown):
  sentence = lost_peer.explain(said.encode(), 16, 30)
  assert sentence.startswith(shown)
  assert sentence.count("\n") == 0


def test_what_is_no_last_word_is_passed_on():
  said = (
    "before\n"
    "[Gloo] Rank 0 is connected to 1 peer ranks.\n"
    "W1121 06:36:35 7 coordination_service.cc:1] slow\n"
    "after\n"
  )
  done = subprocess.run(
    [sys.executable, "-I", "-S", lost_peer.__file__, "2", "30"],
    input=said,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == ""
  assert done.stderr == said.replace(said.splitlines(True)[1], "")
