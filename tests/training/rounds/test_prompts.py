"""The prompts of rounds, read alone or beside a log."""

import json

import pytest
import rounds
import runs

from offalign import Run
from offalign.policy import held_out


def test_prompts_of_a_file_are_held_out_and_kept(tmp_path):
  file = tmp_path / "prompts.jsonl"
  lines = [json.dumps({"prompt": f"p{i % 16}"}) for i in range(20)]
  file.write_text("\n".join(lines) + "\n")
  given = rounds.options(tmp_path / "run", grow={"prompts": str(file)})
  run = Run(**given)
  assert len(run.inputs.held_prompts) == 4
  assert len(run.inputs.trained_prompts) == 12
  assert not {*run.inputs.held_prompts} & {*run.inputs.trained_prompts}
  run.train(verbose=False)
  assert held_out.prompts(run.folder) == run.inputs.held_prompts
  again = Run(**given)
  assert again.inputs.held_prompts == run.inputs.held_prompts


def test_the_prompts_of_a_log_are_completed_but_those_held_out(tmp_path):
  log = [
    {"prompt": p, "completion": "yes", "reward": float(i)}
    for i, p in enumerate(rounds.PROMPTS)
  ]
  given = rounds.options(
    tmp_path / "run", "dro_v", data={"path": log}, grow={"prompts": None}
  )
  run = Run(**given)
  assert len(run._asked.prompts) == 12
  assert set(run._asked.prompts).isdisjoint(run.inputs.held_prompts)
  both = rounds.options(tmp_path / "run", "dro_v", data={"path": log})
  run = Run(**both)
  assert len(run._asked.prompts) == 12
  assert any(
    "4 of 16 prompts are held out, and not completed" in s
    for s in run.inputs.sentences
  )


@pytest.mark.parametrize(
  ("loss", "changes", "batch"),
  [
    ("rloo(beta=0.0)", {}, 8),
    ("rloo(beta=0.0)", {"grow": {"every": 4}}, 12),
    ("rloo(beta=0.0)", {"grow": {"every": 4, "batch": 8}}, 8),
    ("dro_v", {}, 2),
    ("dpo", {}, 2),
    ("dpo", {"data": {"pairs": "best_worst"}}, 8),
  ],
)
def test_a_round_has_as_many_prompts_as_its_steps_read_once(
  tmp_path, loss, changes, batch
):
  run = Run(**rounds.options(tmp_path / "run", loss, **changes))
  assert run._asked.batch == batch


def test_completions_are_as_long_as_the_parents(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  parent = runs.train(log, tmp_path / "sft", loss="sft", steps=1)
  longest = parent.inputs.train.longest_completion
  given = rounds.options(
    tmp_path / "run",
    init=str(parent.folder),
    grow={"max_new_tokens": None},
  )
  del given["model"], given["tokenizer"]
  assert Run(**given)._asked.lengths[1] == longest
