"""Damaged checkpoints, full disks and Ctrl-C: a run ends as if without."""

import pathlib
import shutil
import signal
import subprocess
import sys

import chex
import pytest
import runs
import xla_flags

from offalign.errors import UserError
from offalign.policy.checkpoint import DAMAGED, Checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


STEPS = {"log_every": 1, "eval_every": 2, "save_every": 2}


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
  """(**flags) -> a run that nothing stopped, each trained once."""
  known = {}

  def run(**changes):
    key = tuple(sorted(changes.items()))
    if key not in known:
      known[key] = runs.train(log, tmp_path_factory.mktemp("whole"), **changes)
    return known[key]

  return run


@pytest.fixture
def half(whole, tmp_path):
  """A run of four steps with checkpoints at 2 and 4."""
  folder = whole(steps=4, **STEPS).folder
  return pathlib.Path(shutil.copytree(folder, tmp_path / "half"))


def flip(step):
  """Flips a bit in each file of tensors of the policy."""
  for path in step.glob("policy/**/d/*"):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut_window(step):
  (step / "window" / "metadata").write_text("[{")


def remove_policy(step):
  shutil.rmtree(step / "policy")


def cut_metadata(step):
  for path in step.glob("*/_METADATA"):
    path.write_text('{"tree')


DAMAGES = [flip, cut_window, remove_policy, cut_metadata]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_falls_back_and_is_kept(
  damage, log, half, whole, capfd
):
  unhurt = whole(steps=6, **STEPS)
  damage(half / "checkpoints" / "4")
  hurt = runs.contents(half / "checkpoints" / "4")
  capfd.readouterr()
  run = runs.train(log, half, steps=6, **STEPS)
  said = capfd.readouterr()
  assert "warning: the checkpoint at step 4 is damaged (" in said.out
  assert (
    f"is kept in {half / DAMAGED / '4'}; the run goes on from step 2, and what "
    "was logged after that is logged again"
  ) in said.out
  assert "Traceback" not in said.out + said.err
  assert runs.contents(half / DAMAGED / "4") == hurt
  assert runs.metrics(half) == runs.metrics(unhurt.folder)
  chex.assert_trees_all_equal(runs.state_of(run), runs.state_of(unhurt))


def test_a_second_damaged_one_gets_another_name(log, half):
  for name in ("4", "4-2"):
    flip(half / "checkpoints" / "4")
    runs.train(log, half, steps=5, **STEPS)
    assert (half / DAMAGED / name).is_dir()
    shutil.rmtree(half / "checkpoints" / "5")


def test_where_none_can_be_read_nothing_is_moved(log, half, capfd):
  for step in (2, 4):
    flip(half / "checkpoints" / str(step))
  with pytest.raises(UserError, match=r"checkpoint at step 4 in .* cannot "):
    runs.train(log, half, steps=6, **STEPS)
  assert not (half / DAMAGED).exists()
  with Checkpoints(half) as checkpoints:
    assert checkpoints.steps == [2, 4]
  assert "Traceback" not in capfd.readouterr().err


# Tests in the background of a shell ignore Ctrl-C, and so would their child.
LISTENING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


FULL = """
set -e
mount -t tmpfs -o size=$2k none $1
shift 2
status=0
"$@" || status=$?
test $status = 1
mount -o remount,size=50m $PLACE
"$@" --cfg.log_every=1 > /dev/null
cp -r $PLACE/out $KEPT
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", [8, 140, 700])
def test_a_full_disk_is_a_sentence_and_loses_nothing(
  room, log, whole, tmp_path, monkeypatch
):
  """In a namespace of its own, on a small disk that is then made larger."""
  probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)]
  if (
    shutil.which("unshare") is None
    or subprocess.run(probe, capture_output=True, check=False).returncode
  ):
    pytest.skip("no small disk can be mounted here")
  unhurt = whole(steps=8, **STEPS)
  place = tmp_path / "place"
  place.mkdir()
  monkeypatch.setenv("PLACE", str(place))
  monkeypatch.setenv("KEPT", str(tmp_path / "kept"))
  monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[2]))
  monkeypatch.setenv("XLA_FLAGS", xla_flags.devices(1))
  given = runs.flags(log, place / "out", steps=8, **STEPS)
  command = [sys.executable, "-m", "offalign.train", *runs.as_args(given)]
  done = subprocess.run(
    [*("unshare", "-rm", "sh", "-c", FULL, "sh"), place, str(room), *command],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  (complaint,) = done.stderr.splitlines()
  assert complaint.startswith(f"offalign.train: {place / 'out'}")
  assert complaint.endswith(
    "cannot be written (No space left on device): make room on its disk, then "
    "start again"
  )
  assert runs.metrics(tmp_path / "kept") == runs.metrics(unhurt.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "line"),
  [
    ("reading", "data: "),
    ("reference", "reference, judged rows"),
    ("more reference", "reference, train rows"),
    ("first evaluation", "step 0: "),
    ("first step", "step 1/40 "),
    ("steps", "step 7/40 "),
    ("evaluation", "step 10: "),
    ("saving", "step 20: "),
    ("last step", "step 40/40 "),
    ("end", "done: "),
  ],
)
def test_ctrl_c_in_any_phase_keeps_what_there_is(
  name, line, log, whole, tmp_path
):
  every = {"steps": 40, "log_every": 1, "eval_every": 10, "save_every": 20}
  unhurt = whole(**every)
  out = tmp_path / "out"
  flags = runs.as_args(runs.flags(log, out, **every))
  process = subprocess.Popen(
    [sys.executable, "-c", LISTENING, "-m", "offalign.train", *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=xla_flags.environment(),
  )
  for said in process.stdout:
    if said.startswith(line):
      break
  process.send_signal(signal.SIGINT)
  process.stdout.read()
  complaint = process.stderr.read()
  assert process.wait() == 130, complaint
  lines = [x for x in complaint.splitlines() if "brought to its end" not in x]
  assert len(lines) == 1, complaint
  assert lines[0].startswith("offalign.train: interrupted"), complaint
  if name in ("steps", "evaluation", "saving", "last step", "end"):
    with Checkpoints(out) as checkpoints:
      assert checkpoints.latest == runs.metrics(out)[-1]["step"]
  runs.train(log, out, **every)
  assert runs.metrics(out) == runs.metrics(unhurt.folder)
