"""The command line of a comparison: what is refused, and in which words."""

import inspect
import subprocess
import sys

import pytest

from offalign.compare.one_run import describe_run
from offalign.compare.run import compare_runs
from offalign.programs import compare


def said(*arguments):
  done = subprocess.run(
    [sys.executable, "-m", "offalign", "compare", *arguments],
    capture_output=True,
    text=True,
    check=False,
  )
  return done.returncode, done.stderr


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ((), "no run is named: give RUN RUN ... --judge=SPEC --out=DIR"),
    (("a", "b"), "--judge is missing: give RUN RUN ..."),
    (("a", "b", "--judge=none.py:f", "--out=x"), "there is no file none.py"),
    (("a", "b", "--judge=gold", "--out=x", "--limit=0"), "flag --limit=0"),
    (("a",), "--out is missing"),
    (("a", "--out=x", "--folds=3"), "--folds is for comparing runs, and one"),
    (("a", "--out=x", "--baseline=b"), "--judge is missing"),
  ],
)
def test_a_mistake_is_one_sentence(arguments, sentence):
  status, error = said(*arguments)
  assert status == 2
  assert error.startswith("offalign.compare: ")
  assert sentence in error
  assert error.count("\n") == 1


def test_every_option_is_passed_on():
  options = {*inspect.signature(describe_run).parameters}
  assert options - {"run", "verbose"} == {*compare._OF_ONE}
  options = {*inspect.signature(compare_runs).parameters}
  assert options - {"runs", "verbose"} == {*compare._PASSED}
