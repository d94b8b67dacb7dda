"""One command for all programs, and every way to start one."""

import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

from offalign import programs

ROOT = pathlib.Path(__file__).parents[2]


def python(*arguments):
  return subprocess.run(
    [sys.executable, *arguments], capture_output=True, text=True, check=False
  )


def script(module, name, *arguments):
  """What the console script `name` does."""
  code = f"import sys; from {module} import run; sys.argv[0] = '/bin/{name}'"
  return python("-c", f"{code}; run()", *arguments)


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_list_names_every_program_and_needs_no_jax(arguments):
  code = (
    "import sys; from offalign.programs import run; run();"
    "sys.exit('jax' in sys.modules)"
  )
  done = python("-c", code, *arguments)
  assert done.returncode == 0, done.stderr
  for name, does in programs.PROGRAMS.items():
    (line,) = (x for x in done.stdout.splitlines() if x.split()[:1] == [name])
    assert line.endswith(f" {does}")
    assert len(line) <= 80


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ("trian", "there is no program 'trian'; did you mean 'train'?"),
    (
      "x",
      f"there is no program 'x' (programs: {', '.join(programs.PROGRAMS)})",
    ),
    ("--cfg.loss=dpo", "name a program before --cfg.loss=dpo: offalign NAME"),
  ],
)
def test_a_wrong_name_is_one_sentence(given, sentence, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["offalign", given])
  with pytest.raises(SystemExit) as end:
    programs.run()
  assert end.value.code == 2
  said = capsys.readouterr().err
  assert said.startswith(f"offalign: {sentence}")
  assert said.count("\n") == 1


# Those that can be started alone too, as python -m offalign.NAME.
ALONE = (
  "train",
  "generate",
  "judge",
  "export",
  "plan",
  "audit",
  "leaderboard",
  "sweep",
)


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_every_program_has_its_module(name):
  module = importlib.import_module(f"offalign.programs.{name}")
  assert callable(module.run)
  first = module.__doc__.splitlines()[0]
  ways = (f"offalign {name}", f"python -m offalign.{name}")
  assert first.startswith(ways[: 2 if name in ALONE else 1])


@pytest.mark.parametrize("name", ALONE)
def test_a_program_of_before_has_its_entry_and_script(name):
  room = ROOT / "offalign" / name
  entry = room / "__main__.py" if room.is_dir() else room.with_suffix(".py")
  assert f"from offalign.programs.{name} import run" in entry.read_text()
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  assert project["scripts"][f"offalign-{name}"] == (
    f"offalign.programs.{name}:run"
  )
  assert project["scripts"]["offalign"] == "offalign.programs:run"


def test_help_is_the_same_in_every_way_to_start_a_program():
  ways = [
    python("-m", "offalign", "leaderboard", "--help"),
    python("-m", "offalign.leaderboard", "--help"),
    script("offalign.programs", "offalign", "leaderboard", "--help"),
    script("offalign.programs.leaderboard", "offalign-leaderboard", "--help"),
  ]
  assert {(way.returncode, way.stdout, way.stderr) for way in ways} == {
    (0, ways[0].stdout, "")
  }
  assert ways[0].stdout.startswith("python -m offalign.leaderboard DIR")
  assert "\noffalign.leaderboard:\n  --sort: Metric to" in ways[0].stdout


@pytest.mark.parametrize("name", ["leaderboard", "audit"])
def test_a_wrong_flag_is_one_sentence(name):
  done = python("-m", "offalign", name, "DIR", "--srot=kl")
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith(
    f"offalign.{name}: Unknown command line flag 'srot'."
  )
  assert done.stderr.endswith("--help lists the flags.\n")
  assert done.stderr.count("\n") == 1
