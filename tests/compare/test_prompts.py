import json

import comparisons
import pytest

from offalign.compare import prompts
from offalign.errors import UserError, render
from offalign.policy import held_out


def run(folder, held, **about):
  folder.mkdir()
  if held is not None:
    lines = [json.dumps({"prompt": p, "completion": "x"}) for p in held]
    (folder / held_out.FILE).write_text("\n".join(lines) + "\n")
  return comparisons.contestant(folder.name, folder, **about)


def test_prompts_that_all_runs_held_out(tmp_path):
  a = run(tmp_path / "a", ["p", "q", "p", "r"])
  b = run(tmp_path / "b", ["r", "s", "q"])
  model = run(tmp_path / "m", None, loss=None)
  found = prompts.choose([a, b, model])
  assert found.prompts == ("q", "r")
  assert found.source == "held-out prompts"
  assert found.said == (
    "2 prompts held out by all runs (held out by each: a 3, b 3)",
  )
  assert prompts.choose([a, a]).said == ()


def test_more_prompts_than_wanted_are_drawn_and_said(tmp_path):
  file = tmp_path / "test.jsonl"
  every = [f"p{i}" for i in range(400)]
  file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in every))
  assert prompts.choose([], str(file)).prompts == tuple(every)
  found = prompts.choose([], str(file), limit=5)
  assert len(found.prompts) == 5
  assert sorted(found.prompts, key=every.index) == list(found.prompts)
  assert render(found.said[0]) == (
    "5 of 400 prompts are compared (limit sets another number)"
  )
  assert prompts.choose([], str(file), limit=5, seed=1) != found
  a = run(tmp_path / "a", every)
  assert len(prompts.choose([a]).prompts) == prompts.AT_MOST
  assert len(prompts.choose([a], limit=400).prompts) == 400


def test_no_common_prompt_is_a_sentence(tmp_path):
  a, b = run(tmp_path / "a", ["p"]), run(tmp_path / "b", ["q"])
  with pytest.raises(UserError, match=r"by all runs \(a 1, b 1\): train"):
    prompts.choose([a, b])
  none = run(tmp_path / "c", None)
  with pytest.raises(
    UserError, match=r"c has no held_out\.jsonl, so it is not"
  ):
    prompts.choose([a, none])
  model = run(tmp_path / "m", None, loss=None)
  with pytest.raises(UserError, match="no run is among the policies"):
    prompts.choose([model])
