"""A reward model that was trained here, as a judge."""

import itertools
import json

import numpy as np
import pytest
import runs

from offalign import judges
from offalign.errors import UserError
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.models.lora import LoraConfig

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


def train(log, out, **changes):
  given = {
    "loss": "bradley_terry",
    "steps": 6,
    "optimizer": OptimizerConfig(learning_rate=3e-3),
    **changes,
  }
  return runs.train(log, out, **given)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {
      "value": ValueConfig(network="shared", per="token"),
      "lora": LoraConfig(rank=2),
    },
  ],
  ids=["separate", "shared, LoRA"],
)
def test_it_judges_as_its_held_out_accuracy_says(log, tmp_path, changes):
  run = train(log, tmp_path / "rm", **changes)
  line = runs.metrics(run.folder)[-1]
  by_prompt = {}
  for row in runs.rows_of(log):
    scored = (row["reward"], row["completion"])
    by_prompt.setdefault(row["prompt"], []).append(scored)
  pairs = [
    (prompt, max(pair)[1], min(pair)[1])
    for prompt in run.inputs.held_prompts
    for pair in itertools.combinations(by_prompt[prompt], 2)
    if pair[0][0] != pair[1][0]
  ]
  judge = judges.make(f"reward_model(run={str(run.folder)!r})")
  assert judges.make(judge.spec).spec == judge.spec
  said = judge.compare(*zip(*pairs, strict=True))
  assert said.counts["ties"] == 0
  assert said.counts["cut_prompts"] == said.counts["cut_completions"] == 0
  accuracy = line["eval_rewards/accuracies"]
  assert 0.5 < accuracy <= 1
  assert said.preferences.mean() == pytest.approx(accuracy)
  # A last batch that is not full scores alike.
  few = judges.make(f"reward_model(run={str(run.folder)!r}, batch_size=7)")
  np.testing.assert_array_equal(
    few.compare(*zip(*pairs, strict=True)).preferences, said.preferences
  )


def test_a_run_that_is_no_reward_model_is_refused(tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    judges.make(f"reward_model(run={str(tmp_path)!r})")
  about = {
    "config": {"init": None, "model": None, "seed": 0},
    "loss": "dro_v",
    "model": "decoder",
    "vocab_size": 9,
    **dict.fromkeys(("tokenizer", "start", "data"), ""),
  }
  (tmp_path / "run.json").write_text(json.dumps(about))
  with pytest.raises(UserError, match="which makes no reward model"):
    judges.make(f"reward_model(run={str(tmp_path)!r})")


def test_completions_of_the_same_tokens_are_a_counted_tie(log, tmp_path):
  run = train(log, tmp_path / "rm")  # keeps 8 tokens of a completion
  judge = judges.make(f"reward_model(run={str(run.folder)!r}, batch_size=3)")
  ask = "is 3 a number?"
  a = ["yes, it is, for sure", "yes", "yes, it is"]
  b = ["yes, it is, perhaps", "yes", "no, it is"]
  said = judge.compare([ask] * 3, a, b)
  assert said.counts["equal_tokens"] == 1
  assert said.preferences.tolist()[:2] == [0.5, 0.5]
  assert said.preferences[2] != 0.5
  assert said.counts["ties"] == 2
