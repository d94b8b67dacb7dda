"""`offalign example`: what it says, and its mistakes."""

import subprocess
import sys

import pytest
import runs

from offalign.data.example import folder
from offalign.programs import example


def test_it_writes_and_says_what(tmp_path, capsys):
  assert runs.program(example, str(tmp_path / "new")) == 0
  said = capsys.readouterr().out
  for name in folder.FILES:
    assert (tmp_path / "new" / name).exists()
    assert f"new/{name}" in said
  assert said.endswith("/new/thumbs.jsonl\n")


@pytest.mark.parametrize(
  ("given", "error"),
  [((), "name a new folder"), (("a", "b"), "what is 'b'?")],
)
def test_mistakes_are_sentences(tmp_path, monkeypatch, given, error, capsys):
  monkeypatch.chdir(tmp_path)
  assert runs.program(example, *given) == 2
  said = capsys.readouterr().err
  assert error in said
  assert said.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path, capsys):
  assert runs.program(example, str(tmp_path / "new")) == 0
  (tmp_path / "new" / "thumbs.jsonl").write_text("mine")
  assert runs.program(example, str(tmp_path / "new")) == 2
  assert "is there already" in capsys.readouterr().err
  assert (tmp_path / "new" / "thumbs.jsonl").read_text() == "mine"


def test_it_needs_no_jax(tmp_path):
  code = (
    "import sys; from offalign.data.example import folder;"
    "from offalign.programs import example;"
    f"folder.write({str(tmp_path / 'x')!r});"
    "sys.exit('jax' in sys.modules)"
  )
  assert (
    subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
  )
