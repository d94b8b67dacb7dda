"""A run in rounds that is killed goes on as if it had not been."""

import os
import pathlib
import subprocess
import sys

import chex
import dying
import pytest
import runs
import xla_flags

from offalign import Run
from offalign.config import Config

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


def given(tmp_path):
  """Flags of five rounds of two steps, with a checkpoint at every third."""
  runs.write(
    tmp_path / "prompts.jsonl", [{"prompt": f"p{i}"} for i in range(9)]
  )
  demos = runs.write(
    tmp_path / "demos.jsonl",
    [{"prompt": f"q{i}", "completion": "abc"} for i in range(5)],
  )
  score = tmp_path / "score.py"
  score.write_text("def score(prompt, text):\n  return len(set(text))\n")
  return {
    "loss": "grpo(behaviour=logged, clip=0.2, beta=0.1)",
    "reference": "ema(0.5)",
    "model": runs.DECODER,
    "tokenizer": "byte",
    "batch_size": 4,
    "log_every": 3,
    "eval_every": 4,
    "save_every": 3,
    "eval_samples": 0,
    "grow.prompts": str(tmp_path / "prompts.jsonl"),
    "grow.score": f"{score}:score",
    "grow.rounds": 5,
    "grow.every": 2,
    "grow.max_new_tokens": 4,
    "grow.eval_prompts": 1,
    "ptx.path": str(demos),
    "ptx.batch_size": 2,
  }


def test_killed_at_every_instant_of_a_border_it_is_the_same_to_the_bit(
  tmp_path,
):
  flags = given(tmp_path)
  helpers = pathlib.Path(dying.__file__).parent
  done = subprocess.run(
    [sys.executable, dying.__file__, str(tmp_path), *runs.as_args(flags)],
    env=xla_flags.environment()
    | {"PYTHONPATH": f"{helpers.parents[1]}{os.pathsep}{helpers}"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  grow = {k[5:]: v for k, v in flags.items() if k.startswith("grow.")}
  ptx = {k[4:]: v for k, v in flags.items() if k.startswith("ptx.")}
  rest = {k: v for k, v in flags.items() if "." not in k}
  whole = Run(**rest, grow=grow, ptx=ptx, out=str(tmp_path / "whole"))
  assert isinstance(whole.config, Config)
  expected = runs.state_of(whole)
  files = runs.contents(whole.folder / "rounds")
  for name in dying.INSTANTS:
    folder = tmp_path / name
    assert runs.metrics(folder) == runs.metrics(whole.folder), name
    chex.assert_trees_all_equal(runs.state_of(whole, folder), expected)
    found = runs.contents(folder / "rounds")
    for file in files:
      if file.endswith("json") or file.endswith("jsonl"):
        assert found[file] == files[file], (name, file)
    assert not [file for file in found if ".part" in file], name
