"""The program that writes the blind page and says how raters agree."""

import json
import subprocess
import sys

import pytest

from offalign.generation import completions


def offalign(*arguments, cwd):
  return subprocess.run(
    [sys.executable, "-m", "offalign", "rate", *arguments],
    capture_output=True,
    text=True,
    check=False,
    cwd=cwd,
  )


@pytest.fixture
def files(tmp_path):
  for name in ("a", "b"):
    lines = [completions.line(f"p{i}", f"{name} {i}") for i in range(9)]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
  return tmp_path


def test_a_page_is_written_rated_and_read(files):
  both = ("--a=a.jsonl", "--b=b.jsonl")
  done = offalign(*both, "--out=rating", cwd=files)
  assert done.returncode == 0, done.stderr
  assert "a win rate of .575 from .5 takes 349 pairs" in done.stdout
  key = json.loads((files / "rating" / "rate-key.json").read_text())
  rows = [
    {name: item[name] for name in ("prompt", "left", "right")}
    | {"preferred": "left" if item["left_by"] == "a" else "right"}
    for item in key["items"]
  ]
  named = [row | {"rater": who} for row in rows for who in ("ann", "bob")]
  (files / "ratings.json").write_text(json.dumps(named))
  (files / "mine.py").write_text("def score(p, c): return c[0] == 'a'\n")
  judge = "--judge=mine.py:score"
  done = offalign(*both, "--ratings=ratings.json", judge, cwd=files)
  assert done.returncode == 0, done.stderr
  assert "18 ratings by 2 raters" in done.stdout
  assert "Cohen's kappa of ann and bob on 9 pairs" in done.stdout
  assert "the raters' majority on 9 pairs" in done.stdout
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ((), "give one of --out and --ratings"),
    (("--out=x",), "--out needs two files of completions"),
    (("--ratings=r.json", "--seed=3"), "--seed is for --out; leave it out"),
    (("--ratings=r.json", "--judge=x.py:f"), "give --a, --b and --judge"),
    (("--out=x", "--judge=x.py:f"), "--judge is for --ratings"),
  ],
)
def test_mistakes_are_sentences(arguments, sentence, files):
  done = offalign(*arguments, cwd=files)
  assert done.returncode == 2
  assert sentence in done.stderr
  assert done.stderr.count("\n") == 1
