"""Damaged checkpoints: one sentence, and nothing printed around it."""

import subprocess
import sys

import jax.numpy as jnp
import pytest

from offalign.errors import UserError
from offalign.learner import TrainState
from offalign.policy.checkpoint import Checkpoints

SHAPES = {f"w{i}": jnp.zeros((8, 8)) for i in range(12)}
READ = """
import sys, time
import jax.numpy as jnp
from offalign.errors import UserError
from offalign.policy.checkpoint import Checkpoints
template = {f"w{i}": jnp.zeros((8, 8)) for i in range(12)}
with Checkpoints(sys.argv[1]) as checkpoints:
  try:
    checkpoints.restore_policy(template)
  except UserError as error:
    print(error)
time.sleep(0.5)
"""


@pytest.fixture
def saved(tmp_path):
  state = TrainState(jnp.int32(4), {"policy": SHAPES}, {"m": jnp.zeros(2)}, {})
  with Checkpoints(tmp_path, keep=3) as checkpoints:
    checkpoints.save(state, {"loss": "dpo"}, [{"loss": 0.5}])
  return tmp_path


def files(folder, name):
  return [p for p in (folder / "checkpoints/4" / name).iterdir() if p.is_file()]


@pytest.mark.parametrize("name", ["window", "about"])
@pytest.mark.parametrize(
  "content", [b"", b"{", b"[1", b"\xff", b"3", b'["x"]', b"[" * 9_000]
)
def test_json_beside_the_state_is_named(saved, name, content):
  (saved / "checkpoints/4" / name / "metadata").write_bytes(content)
  with Checkpoints(saved) as checkpoints:
    read = getattr(checkpoints, name)
    with pytest.raises(UserError, match=r"^the checkpoint at step 4 .* cannot"):
      read()


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\x00" * 40, b"[" * 9_000])
def test_files_of_the_arrays_are_named(saved, name, content):
  (saved / "checkpoints/4/policy" / name).write_bytes(content)
  with (
    Checkpoints(saved) as checkpoints,
    pytest.raises(UserError, match=r"^the checkpoint at step 4 .* (cannot|is)"),
  ):
    checkpoints.restore_policy(SHAPES)


@pytest.mark.parametrize("content", [b'{"custom_metadata": 3}', b"9" * 5_000])
def test_a_checkpoint_that_does_not_say_what_it_is(saved, content):
  (saved / "checkpoints/4/_CHECKPOINT_METADATA").write_bytes(content)
  with pytest.raises(UserError, match="whose _CHECKPOINT_METADATA is damaged"):
    Checkpoints(saved)


def test_no_traceback_stands_around_the_sentence(saved):
  for path in (saved / "checkpoints/4/policy").rglob("d/*"):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
  done = subprocess.run(
    [sys.executable, "-c", READ, str(saved)],
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.startswith("the checkpoint at step 4 in ")
  assert "Traceback" not in done.stderr
