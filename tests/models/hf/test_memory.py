"""Reading a checkpoint of more than a gigabyte holds it in memory once."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import xla_flags

from offalign.models import hf
from offalign.models.hf import t5_family
from offalign.models.hf.check_tensors import expected_shapes
from offalign.models.hf.tensor_files import Writer
from offalign.models.t5.config import T5Config

LIMIT = 1.3  # times the checkpoint

CONFIG = T5Config(
  vocab_size=32128, width=1024, layers=8, heads=16, head_dim=64, mlp_width=2816
)

# The high-water mark that getrusage gives would be that of the process that
# started this one, if it was larger.
READ = """
import json, re, sys
import jax
from offalign.distributed import sharding
from offalign.models import hf
folder, fsdp = sys.argv[1], int(sys.argv[2])
mesh = sharding.make_mesh(sharding.MeshConfig(data=1, fsdp=fsdp))
def memory(name):
  with open("/proc/self/status") as file:
    return 1024 * int(re.search(name + r":\\s+(\\d+) kB", file.read())[1])
before = memory("VmRSS")
model, params = hf.load(folder, mesh=mesh)
leaves = jax.block_until_ready(jax.tree.leaves(params))
print(json.dumps({
  "peak": memory("VmHWM") - before,
  "params": sum(x.nbytes for x in leaves),
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A checkpoint of random float32, written tensor by tensor."""
  folder = tmp_path_factory.mktemp("large")
  raw = t5_family.to_hf(CONFIG)
  model = hf.describe(raw, spec="large", tied=False)
  shapes = expected_shapes(hf.sources_of(raw, tied=False), hf.shapes_of(model))
  noise = np.random.default_rng(0).normal(size=2**20).astype(np.float32)
  writer = Writer(folder / "model.safetensors", shapes, "F32")
  for name, shape in shapes.items():
    writer.write(name, np.resize(noise, shape), None, 0)
  writer.close()
  (folder / "config.json").write_text(json.dumps(raw))
  yield folder
  (folder / "model.safetensors").unlink()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("devices", [1, 4])
def test_peak_memory(folder, devices):
  size = (folder / "model.safetensors").stat().st_size
  assert size > 1e9
  out = subprocess.run(
    [sys.executable, "-c", READ, str(folder), str(devices)],
    env=xla_flags.environment(devices),
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=False,
  )
  assert out.returncode == 0, out.stderr
  found = json.loads(out.stdout)
  assert found["params"] == pytest.approx(size, rel=1e-3)
  ratio = found["peak"] / size
  print(f"{size / 1e9:.2f} GB on {devices} device(s): peak {ratio:.3f}x")
  assert 0.9 < ratio < LIMIT
