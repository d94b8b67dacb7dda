"""Runs with a second source: what each step imitates, and what is said."""

import chex
import pytest
import runs

from offalign import Run
from offalign.config.ptx import PtxConfig
from offalign.errors import UserError

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
DEMOS = [
  {"prompt": f"why {i}?", "completion": f"so {i}", "note": "x"}
  for i in range(10)
]


def config(tmp_path, out, **changes):
  log = runs.write_log(tmp_path / "log.jsonl")
  demos = runs.write(tmp_path / "demos.jsonl", changes.pop("demos", DEMOS))
  ptx = PtxConfig(**{"path": str(demos), "coef": 0.5} | changes.pop("ptx", {}))
  return runs.config(log, tmp_path / out, ptx=ptx, **changes)


def train(tmp_path, out, **changes):
  run = Run(config(tmp_path, out, **changes))
  run.train(verbose=False)
  return run


def test_each_step_has_rows_of_both_and_a_resumed_run_has_the_same(tmp_path):
  whole = train(tmp_path, "whole", ptx={"batch_size": 4})
  lines = [x for x in runs.metrics(whole.folder) if "loss" in x]
  assert [line["step"] for line in lines] == [2, 4]
  assert all(line["ptx/loss"] > 3 for line in lines)  # a new model, in nats
  drawn = [
    i for s in range(4) for i in whole._demonstrations.sampler.indices(s)
  ]
  assert sorted(drawn[:10]) != drawn[:10]
  assert len(set(drawn[:8])) == 8  # an epoch repeats none
  half = train(tmp_path, "half", ptx={"batch_size": 4}, steps=2)
  assert half.config.last_step == 2
  again = train(tmp_path, "half", ptx={"batch_size": 4})
  assert runs.metrics(again.folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(again), runs.state_of(whole))
  other = [{**row, "completion": "no"} for row in DEMOS]
  with pytest.raises(UserError, match="was begun with other demonstrations"):
    train(tmp_path, "half", ptx={"batch_size": 4}, demos=other, steps=6)


def test_what_is_read_and_what_is_held_out_is_said(tmp_path):
  rows = [*DEMOS, {"prompt": "is 3 a number?", "completion": "yes"}]
  rows += [
    {"prompt": f"is {i} a number?", "completion": "y"} for i in range(16)
  ]
  run = Run(config(tmp_path, "run", demos=rows))
  said = [str(x) for x in run._demonstrations.inputs.sentences]
  assert said[0].startswith("demonstrations: ")
  assert "27 rows of form 'sft'" in said[0]
  warned = "4 held-out prompts of 4 are among the demonstrations"
  assert any(warned in sentence for sentence in said)
  assert run._demonstrations.batch_size == 8  # as many as prompts
  assert "each step imitates 8 of 27 demonstrations, 0.5 * sft" in said[-1]


@pytest.mark.parametrize(
  ("ptx", "said"),
  [
    ({"batch_size": 40}, "ptx.batch_size=40"),
    ({"path": "absent.jsonl"}, "ptx.path"),
  ],
)
def test_mistakes_name_the_option(tmp_path, ptx, said):
  with pytest.raises(UserError) as error:
    Run(config(tmp_path, "run", ptx=ptx))
  assert said in str(error.value)
  assert "data.path" not in str(error.value)


def test_python_takes_rows(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  run = Run(
    loss="dro_v",
    model=runs.DECODER,
    tokenizer="byte",
    data={"path": log, "max_prompt": 16, "max_completion": 8},
    ptx={"path": DEMOS, "batch_size": 2},
    out=tmp_path / "run",
    batch_size=8,
    steps=2,
  )
  assert len(run._demonstrations.inputs.train) == 10
