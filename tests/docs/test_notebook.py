"""The notebook runs from its first cell to its last, and holds no outputs."""

import json
import os
import pathlib
import sys

import nbformat
import pytest
import xla_flags
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "offalign-in-python.ipynb"


CONNECTION = "{connection_file}"


def read():
  return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_stored_without_outputs():
  for cell in read().cells:
    if cell.cell_type == "code":
      assert cell.outputs == []
      assert cell.execution_count is None


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
  # One device, and this interpreter whatever kernels there are.
  monkeypatch.setenv("XLA_FLAGS", xla_flags.devices(1))
  monkeypatch.setenv(
    "PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  )
  kernel = tmp_path / "kernels" / "python3"
  kernel.mkdir(parents=True)
  spec = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", CONNECTION],
    "display_name": "Python 3",
    "language": "python",
  }
  (kernel / "kernel.json").write_text(json.dumps(spec))
  monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
  notebook = read()
  client = NotebookClient(
    notebook,
    timeout=600,
    kernel_name="python3",
    resources={"metadata": {"path": str(tmp_path)}},
  )
  client.execute()
  said = [
    "".join(output.get("text", "") for output in cell.outputs)
    for cell in notebook.cells
    if cell.cell_type == "code"
  ]
  assert said[1].startswith("the list: 128 rows of form 'label'")
  assert said[2] == ""  # verbose=False
  assert "step 20/20" in said[3]
