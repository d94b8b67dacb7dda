import json
import os
import pathlib
import re
import subprocess
import sys

import html_checks
import pytest

ROOT = pathlib.Path(__file__).parents[2]
ROWS = [
  {"prompt": f"p{i // 3}", "completion": "w " * (i % 7 + 1), "reward": i % 5}
  for i in range(30)
]


def run(*arguments, cwd=None, code="from offalign.programs.audit import run"):
  """The command; what follows is said on stderr: jax or not, KiB at most."""
  script = (
    f"{code}; import atexit, resource, sys; atexit.register(lambda: print("
    "'jax' in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,"
    "file=sys.stderr)); run()"
  )
  return subprocess.run(
    [sys.executable, "-c", script, *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    check=False,
  )


@pytest.mark.slow
def test_files_and_status(put, tmp_path):
  done = run(put(ROWS), "--nomethods", f"--out={tmp_path}/out")
  assert done.returncode == 0, done.stderr
  assert done.stderr.startswith("False")
  found = json.loads((tmp_path / "out" / "audit.json").read_text())
  assert found["rows"] == 30
  assert found["completions_per_prompt"] == {"3": 10}
  assert found["methods"] is None
  html_checks.check((tmp_path / "out" / "audit.html").read_text())
  assert "prompts" in done.stdout
  bad = run(put([{**ROWS[0], "reward": None}]), "--nomethods")
  assert bad.returncode == 1
  assert "row 0, column 'reward': null" in bad.stdout
  lax = run(put([ROWS[0]] * 2), "--nomethods", "--fail_on=error")
  assert lax.returncode == 0


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((), "give one path"),
    (("absent.jsonl",), "there is no file"),
    (("a", "b"), "give one path"),
    (("a", "--tokeniser=byte"), "tokenizer"),
    (("a", "--max_prompt=many"), "max_prompt"),
  ],
)
def test_usage(arguments, words):
  done = run(*arguments)
  assert done.returncode == 2
  sentence, *rest = done.stderr.strip().splitlines()
  assert sentence.startswith("offalign.audit: ")
  assert words in sentence
  assert len(rest) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
  peaks = []
  for rows in (8_000, 80_000):
    path = tmp_path / f"{rows}.jsonl"
    with open(path, "w") as file:
      for i in range(rows):
        # Every prompt is another: nothing can be kept for each.
        row = {"prompt": f"q {i}", "completion": f"a {i} " * 8, "reward": i % 9}
        file.write(json.dumps(row) + "\n")
    done = run(str(path), "--nomethods")
    assert done.returncode == 0, done.stderr
    assert f"{rows:,}" in done.stdout
    peaks.append(int(done.stderr.split()[-1]) / 1024)
  # The rows alone are 7 MiB more on disk, and 50 as Python objects; samples
  # and entries of a part are at most 16.
  assert peaks[1] - peaks[0] < 24


def test_the_guide_shows_what_is_printed(tmp_path):
  guide = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
  (script,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
  subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
  command, shown = re.search(
    r"```sh\npython -m offalign\.audit ([^`]*--nomethods.*?)\n```.*?"
    r"```text\n(.*?)```",
    guide,
    re.DOTALL,
  ).groups()
  done = run(*command.replace("\\\n", "").split(), cwd=tmp_path)
  assert done.stdout.strip() == shown.strip()
  assert done.returncode == 1
