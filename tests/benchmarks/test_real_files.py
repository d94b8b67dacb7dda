"""Published files are brought whole or not at all, and failures are said."""

import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from benchmarks import real_files

ROOT = pathlib.Path(__file__).parents[2]
HELD = {"pack/a.json": b'{"a": 1}', "pack/b.json": b'{"b": 2}'}


def sha(data):
  return hashlib.sha256(data).hexdigest()


def wheel(path, held):
  with zipfile.ZipFile(path, "w") as file:
    for name, data in held.items():
      file.writestr(name, data)
  return path


def packed(path, held):
  with tarfile.open(path, "w:gz") as file:
    for name, data in held.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      file.addfile(member, io.BytesIO(data))
  return path


COPY = [
  sys.executable,
  "-c",
  "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])",
]
FORMS = {"p.whl": wheel, "p.tgz": packed}


def part(archive, members=None, **other):
  """A part whose package is downloaded by copying a file."""
  members = {k: sha(v) for k, v in (members or HELD).items()}
  return real_files.Part(
    package="pack==1",
    client=lambda _, into: [*COPY, str(archive), str(into)],
    members=members,
    names=tuple(name.split("/")[-1] for name in members),
    **other,
  )


def brings(folder, one):
  return real_files.bring(folder, {"inner/one": one})


@pytest.fixture(
  params=[(wheel, "p.whl"), (packed, "p.tgz")], ids=["whl", "tgz"]
)
def make(request, tmp_path):
  form, name = request.param
  return lambda held: form(tmp_path / name, held)


def test_members_are_brought_and_nothing_else(make, tmp_path, capsys):
  evil = {"../../out": b"x", "/abs": b"x", "pack/c.json": b"x"}
  assert brings(tmp_path / "d", part(make({**evil, **HELD}))) == {}
  found = {
    x.relative_to(tmp_path / "d").as_posix(): x.read_bytes()
    for x in (tmp_path / "d").rglob("*")
    if x.is_file()
  }
  assert found == {
    "inner/one/a.json": b'{"a": 1}',
    "inner/one/b.json": b'{"b": 2}',
  }
  assert not (tmp_path / "out").exists()
  assert "inner/one: pack==1" in capsys.readouterr().out


def test_what_is_there_is_left(make, tmp_path, capsys):
  one = part(make(HELD))
  assert brings(tmp_path / "d", one) == {}
  (tmp_path / "d/inner/one/a.json").write_text("mine")
  assert brings(tmp_path / "d", one) == {}
  assert (tmp_path / "d/inner/one/a.json").read_text() == "mine"
  assert capsys.readouterr().out.endswith("inner/one: is there\n")


def failed(folder, one):
  """The sentence, where nothing is left of what failed."""
  before = {x.relative_to(folder) for x in folder.rglob("*")}
  (sentence,) = brings(folder, one).values()
  assert {x.relative_to(folder) for x in folder.rglob("*")} == before
  return sentence


def test_a_damaged_or_other_archive_is_a_sentence(make, tmp_path):
  folder = tmp_path / "d"
  folder.mkdir()
  archive = make(HELD)
  whole = archive.read_bytes()
  assert "there is no pack/b.json in it" in failed(
    folder, part(make({"pack/a.json": b'{"a": 1}'}), HELD)
  )
  assert "is not the file that it was" in failed(
    folder, part(make({**HELD, "pack/b.json": b"other"}), HELD)
  )
  for at in (0, 10, len(whole) // 3):
    archive.write_bytes(whole[:at])
    sentence = failed(folder, part(archive))
    assert "damaged" in sentence or "there is no pack/" in sentence
  for at in range(0, len(whole), 7):
    flipped = bytearray(whole)
    flipped[at] ^= 0x55
    archive.write_bytes(flipped)
    for sentence in brings(folder / "flips", part(archive)).values():
      assert "in it" in sentence or "damaged" in sentence


def test_an_archive_that_unpacks_to_too_much(make, tmp_path, monkeypatch):
  monkeypatch.setattr(real_files, "_GIB", 1000)
  large = {**HELD, "pack/b.json": bytes(2000)}
  (tmp_path / "d").mkdir()
  assert "more than it may" in failed(tmp_path / "d", part(make(large)))


def test_a_link_in_the_place_of_a_member_is_not_followed(tmp_path):
  (tmp_path / "d").mkdir()
  with tarfile.open(tmp_path / "p.tgz", "w:gz") as file:
    link = tarfile.TarInfo("pack/a.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    file.addfile(link)
  sentence = failed(tmp_path / "d", part(tmp_path / "p.tgz"))
  assert "there is no pack/a.json in it" in sentence


@pytest.mark.parametrize(
  ("code", "said"),
  [
    ("raise SystemExit('no such package')", "no such package"),
    (
      "raise SystemExit('ERROR: no pack==1\\nERROR: none\\nsee the log')",
      "(ERROR: no pack==1 ERROR: none)",
    ),
    ("raise SystemExit(3)", "status 3"),
    ("", "0 archives were downloaded"),
    ("import time; time.sleep(60)", "within 1 s"),
  ],
)
def test_a_client_that_fails_is_a_sentence(code, said, tmp_path, monkeypatch):
  monkeypatch.setattr(real_files, "_SECONDS", 1 if "sleep" in code else 30)
  (tmp_path / "d").mkdir()
  one = real_files.Part(
    "pack==1", lambda *_: [sys.executable, "-c", code], {}, ("a.json",)
  )
  assert said in failed(tmp_path / "d", one)


def test_a_client_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  (tmp_path / "d").mkdir()
  one = real_files.PARTS["tokenizers/qwen3"]
  assert failed(tmp_path / "d", one) == "npm is not installed"


def test_what_is_made_of_the_members_must_be_whole(make, tmp_path):
  def halves(source, target):
    target.mkdir()
    (target / "a.json").write_bytes((source / "a.json").read_bytes())

  (tmp_path / "d").mkdir()
  assert "lacks a file" in failed(tmp_path / "d", part(make(HELD), make=halves))


def test_a_folder_in_the_way_stays(make, tmp_path):
  own = tmp_path / "d/inner/one/mine.txt"
  own.parent.mkdir(parents=True)
  own.write_text("mine")
  assert "cannot be written" in failed(tmp_path / "d", part(make(HELD)))
  assert own.read_text() == "mine"


def test_the_program_counts_what_failed_and_has_no_traceback(tmp_path):
  (tmp_path / "file").write_text("x")
  done = subprocess.run(
    [sys.executable, "-m", "benchmarks.real_files", str(tmp_path / "file/d")],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stdout.splitlines()[-1].startswith("0 of 5 parts are in ")
  assert len(done.stderr.splitlines()) == 5
  assert "Traceback" not in done.stderr


def test_a_part_is_found_only_where_it_is_whole(tmp_path):
  name = "tokenizers/qwen3"
  (tmp_path / name).mkdir(parents=True)
  (tmp_path / name / "tokenizer.json").write_text("{}")
  assert real_files.find(name, tmp_path) is None
  (tmp_path / name / "tokenizer_config.json").write_text("{}")
  assert real_files.find(name, tmp_path) == tmp_path / name
