"""Runs that are started from Python, with rows in memory."""

import dataclasses
import json

import datasets
import jax.numpy as jnp
import numpy as np
import pytest
import runs

import offalign as oa
from offalign.config import arguments
from offalign.judges import Gold
from offalign.losses import registry
from offalign.policy.folder import read_cost

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]
OPTIONS = {
  "model": runs.DECODER,
  "tokenizer": "byte",
  "steps": 4,
  "batch_size": 8,
  "log_every": 2,
  "eval_every": 2,
  "save_every": 2,
}
LIMITS = {"eval_fraction": 0.25, "max_prompt": 16, "max_completion": 8}


@pytest.fixture
def log(tmp_path):
  return runs.write_log(tmp_path / "log.jsonl")


@pytest.fixture
def rows(log):
  return runs.rows_of(log)


def test_rows_in_memory_train_as_a_file_does(log, rows, tmp_path, capsys):
  whole = runs.train(log, tmp_path / "file")
  capsys.readouterr()
  run = oa.Run(data={"path": rows, **LIMITS}, out=tmp_path / "list", **OPTIONS)
  policy = run.train(verbose=False)
  said = capsys.readouterr()
  assert said.out == said.err == ""
  assert runs.metrics(run.folder) == runs.metrics(whole.folder)
  assert repr(policy).startswith(f"Policy({str(run.folder)!r}, step=4: dro_v")
  # What was logged, as arrays.
  steps, losses = run.metrics["loss"]
  lines = [x for x in runs.metrics(run.folder) if "loss" in x]
  assert steps.tolist() == [2, 4]
  assert losses.tolist() == [x["loss"] for x in lines]
  last = runs.metrics(run.folder)[-1]
  last.pop("step")
  assert run.held_out == policy.metrics == last
  assert policy.metrics != oa.Policy.load(run.folder, 2).metrics
  # The tokens of the training rows, and the positions that they take.
  cost = read_cost(run.folder)
  assert cost == {
    **read_cost(whole.folder),
    **{k: cost[k] for k in ("seconds", "compile_seconds", "peak_memory_mb")},
  }
  assert (cost["step"], cost["completions"], cost["positions"]) == (
    4,
    32,
    32 * 7,
  )
  drawn = [run.sampler.indices(step) for step in range(4)]
  assert cost["tokens"] == sum(map(run.inputs.train.count_tokens, drawn))
  assert cost["seconds"]["wall"] > 0
  with pytest.raises(oa.UserError, match="has begun its training already"):
    run.train()


def test_a_run_goes_on_with_the_same_rows_alone(rows, tmp_path):
  given = {**OPTIONS, "out": tmp_path / "out"}
  first = oa.Run(data={"path": rows, **LIMITS}, **given)
  first.train(verbose=False)
  before = read_cost(first.folder)
  data = datasets.Dataset.from_list(rows)
  with pytest.raises(
    oa.UserError, match=r"data\.path was 'the list', is 'the D"
  ):
    oa.Run(data={"path": data, **LIMITS}, **given | {"steps": 6})
  other = [*rows[:-1], {**rows[-1], "reward": 5.0}]
  with pytest.raises(oa.UserError, match="was begun with other data"):
    oa.Run(data={"path": other, **LIMITS}, **given | {"steps": 6})
  again = oa.Run(data={"path": rows, **LIMITS}, **given | {"steps": 6})
  assert again.train(verbose=False).step == 6
  after = read_cost(first.folder)
  assert after["step"] == 6
  assert after["completions"] == before["completions"] * 6 // 4
  for clock in ("wall", "cpu"):
    assert after["seconds"][clock] > before["seconds"][clock]
  drawn = [again.sampler.indices(step) for step in range(6)]
  assert after["tokens"] == sum(map(again.inputs.train.count_tokens, drawn))
  # A run of before there was a cost.json.
  (first.folder / "cost.json").unlink()
  more = oa.Run(data={"path": rows, **LIMITS}, **given | {"steps": 8})
  more.train(verbose=False)
  found = read_cost(first.folder)
  drawn = [more.sampler.indices(step) for step in range(8)]
  assert found["tokens"] == sum(map(more.inputs.train.count_tokens, drawn))
  assert np.isnan(found["seconds"]["wall"])


def test_a_policy_scores_compares_and_has_a_row(rows, tmp_path):
  def train(loss, **more):
    return oa.Run(
      loss=loss,
      data={"path": rows, **LIMITS},
      out=tmp_path / loss,
      **OPTIONS,
      **more,
    )

  run = train("dpo", optimizer={"learning_rate": 0.01})
  policy = run.train(verbose=False)
  sft = train("sft").train(verbose=False)

  # Log-probs: each completion by itself is what it is in a pair or a group.
  single = policy.logps(rows)
  assert single.shape == (64,)
  assert single.dtype == np.float32
  assert (single < 0).all()
  pair = {
    "prompt": rows[0]["prompt"],
    "chosen": rows[1]["completion"],
    "rejected": rows[0]["completion"],
  }
  both = policy.logps([pair])
  np.testing.assert_allclose(both, [[single[1], single[0]]], rtol=1e-5)
  group = {
    "prompt": rows[0]["prompt"],
    "completions": [r["completion"] for r in rows[:2]],
    "rewards": [0.0, 1.0],
  }
  few = {**group, "completions": group["completions"][:1], "rewards": [0.0]}
  found = policy.logps([few, group], batch_size=1)
  assert np.isnan(found[0, 1])
  np.testing.assert_allclose(found[1], single[:2], rtol=1e-5)
  np.testing.assert_allclose(found[0, 0], single[0], rtol=1e-5)

  prompts = [f"is {i} a number?" for i in range(20, 30)]

  def length(prompt, completion):
    assert prompt.startswith("is ")
    return len(completion)

  given = {"judge": length, "max_new_tokens": 4}
  wins = oa.win_rates(policy, sft, prompts, **given)
  texts = [
    [str(x) for x in side.generate(prompts, max_new_tokens=4)]
    for side in (policy, sft)
  ]
  by_hand = [
    (len(a) > len(b)) + (len(a) == len(b)) / 2
    for a, b in zip(*texts, strict=True)
  ]
  assert wins.rate == pytest.approx(np.mean(by_hand))
  assert len(wins.folds) == 5
  assert oa.win_rates(sft, policy, prompts, **given).rate == pytest.approx(
    1 - wins.rate
  )
  # Of plain texts it is not known whether they ended.
  plain = oa.win_rates(policy, texts[1], prompts, **given)
  assert plain.unfinished == (wins.unfinished[0], None)
  assert dataclasses.replace(plain, unfinished=wins.unfinished) == wins
  with pytest.raises(oa.UserError, match="other is neither a Policy nor"):
    oa.win_rates(policy, texts[1][:3], prompts, **given)
  with pytest.raises(oa.UserError, match="judge is 3: give a function"):
    oa.win_rates(policy, sft, prompts, judge=3)

  row = policy.row(
    track="t", scenario="s", metrics={"win_vs_sft": wins, "x": 2}
  )
  assert oa.Row.from_json(row.to_json()) == row
  assert (row.loss, row.label, row.model) == ("dpo", "dpo", runs.DECODER)
  assert (row.track, row.scenario, row.seed) == ("t", "s", 0)
  assert row.data_view == "pairs"
  assert row.budget == {"completions": 64, "tokens": 64 * 7, "steps": 4}
  assert row.metrics["win_vs_sft"] == wins.rate
  assert row.metrics["win_vs_sft_low"] == wins.low
  assert row.metrics["x"] == 2.0
  assert row.metrics["eval_loss"] == run.held_out["eval_loss"]
  assert row.folds == {"win_vs_sft": list(wins.folds)}
  assert [s for s, _ in row.curves["eval_loss"]] == [0, 2, 4]
  assert row.seconds["cpu"] > 0
  assert row.peak_memory_mb > 0
  assert row.versions["offalign"] == oa.__version__
  assert row.selection == ""
  early = oa.Policy.load(policy.folder, 2).row(label="early", seed=7)
  assert (early.selection, early.seed) == ("step 2 of 4", 7)
  assert (early.scenario, early.label) == ("the list", "early")
  (policy.folder / "cost.json").unlink()
  with pytest.raises(oa.UserError, match=r"has no cost\.json"):
    policy.row()


def test_a_judge_of_a_function_is_gold():
  judge = Gold.of(len_of)
  assert judge.spec == f"gold(fn='{__name__}:len_of')"
  said = judge.compare(["p", "p"], ["aa", "b"], ["a", "c"])
  assert said.preferences.tolist() == [1.0, 0.5]
  with pytest.raises(oa.UserError, match="gave None for the completion 'a'"):
    Gold.of(lambda prompt, completion: None).compare(["p"], ["a"], ["b"])
  with pytest.raises(oa.UserError, match="tie must be 0 or more"):
    Gold.of(len_of, tie=-1)


def len_of(prompt, completion):
  return len(completion)


def test_a_loss_of_a_cell_may_be_defined_again(monkeypatch):
  known = dict(registry._definitions)
  monkeypatch.setattr(registry, "_definitions", known)

  def define(target, module="__main__"):
    def own(scores, *, target: float = target):
      return jnp.sum((scores.logps - target) ** 2, axis=-1)

    own.__module__ = module
    register = oa.losses.register(
      "of_a_cell",
      kind=oa.Kind.SINGLE,
      paper="ours",
      when="a test",
      formula="x",
    )
    return register(own)

  define(1.0)
  assert oa.losses.definition("of_a_cell").defaults["target"] == 1.0
  define(2.0)
  assert oa.losses.definition("of_a_cell").defaults["target"] == 2.0
  with pytest.raises(ValueError, match="registered already, by __main__"):
    define(3.0, module="another")


@pytest.mark.parametrize(
  ("given", "sentence"),
  [
    ({"step": 3}, "a run has no option 'step'; did you mean 'steps'"),
    ({"max_prompt": 3}, "'max_prompt' is an option of 'data': give data={"),
    (
      {"learning_rate": 3},
      "'learning_rate' is an option of 'optimizer': give optimizer={",
    ),
    (
      {"optimizer": {"lr": 3}},
      "'optimizer' has no option 'lr'",
    ),
    ({"data": {"pth": "x"}}, "'data' has no option 'pth'; did you mean 'path'"),
    ({"steps": "3"}, "steps must be a whole number"),
    ({"data": 3}, "data is a path, a list of dicts or a datasets.Dataset"),
    ({"lora": 3}, "lora must be LoraConfig or None, not 3"),
  ],
)
def test_a_wrong_argument_is_named(given, sentence):
  with pytest.raises(oa.UserError, match=sentence):
    arguments.read(given)


def test_a_loss_that_does_not_exist_is_named_without_a_flag(rows, tmp_path):
  with pytest.raises(oa.UserError) as error:
    oa.Run(loss="ktoo", data=rows, out=tmp_path / "out", **OPTIONS)
  said = str(error.value)
  assert said.startswith("loss: there is no loss 'ktoo'; did you mean 'kto'? (")
  assert error.value.option == "loss"


@pytest.mark.parametrize(
  ("given", "option"),
  [
    ({"loss": "ktoo"}, "loss"),
    ({"model": "decodr"}, "model"),
    ({"batch_size": 64}, "batch_size"),
    ({"tokenizer_vocab": 300}, "tokenizer"),
    ({"init": "nowhere"}, "init"),
    ({"keep_best": "eval_x"}, "keep_best"),
    ({"mesh": {"fsdp": 3}}, "mesh"),
    ({"optimizer": {"warmup_steps": -1}}, "optimizer.warmup_steps"),
    ({"value": {"network": "shared"}, "loss": "kto"}, "value.*"),
    ({"select": {"judge": "glod"}}, "select.judge"),
    ({"data": {"path": ""}}, "data.path"),
    ({"data": {"pairs": "all"}}, "data.pairs"),
    ({"data": {"normalize_by": "source"}}, "data.normalize_by"),
    ({"data": {"int_labels": True}}, "data.path"),
    ({"data": {"max_completion": 0}}, "data.max_completion"),
    ({"data": {"eval_fraction": 2.0}}, "data.eval_fraction"),
  ],
)
def test_a_mistake_in_python_names_options_and_no_flag(
  rows, tmp_path, given, option
):
  given = {**OPTIONS, **given}
  given["data"] = {"path": rows, **LIMITS, **given.get("data", {})}
  with pytest.raises(oa.UserError) as error:
    oa.Run(out=tmp_path / "out", **given)
  assert error.value.option == option
  assert option in str(error.value)
  assert "--" not in str(error.value)


def test_a_run_in_python_says_options_and_no_flag(rows, tmp_path, capsys):
  given = {**OPTIONS, "loss": "dpo", "out": tmp_path / "out"}
  run = oa.Run(data={"path": rows, **LIMITS, "eval_rows": 2}, **given)
  assert "--" not in "".join(run.inputs.sentences)
  said = "\n".join(run.inputs.sentences)
  assert "(data.pairs='all')" in said
  assert "rows are used (data.eval_rows)" in said
  run.train()
  oa.Run(data={"path": rows, **LIMITS, "eval_rows": 2}, **given).train()
  out = capsys.readouterr().out
  assert "a larger steps goes on from there" in out
  assert said in out
  assert "--" not in out


def test_arguments_become_a_config(tmp_path):
  loss = oa.losses.get("kto", beta=0.2)
  found = arguments.read(
    {
      "loss": loss,
      "out": tmp_path,
      "data": tmp_path / "a.jsonl",
      "lora": {"rank": 2},
      "mesh": oa.MeshConfig(data=1),
    }
  )
  assert found == oa.Config(
    loss="kto(beta=0.2)",
    out=str(tmp_path),
    data=oa.DataConfig(path=str(tmp_path / "a.jsonl")),
    lora=oa.LoraConfig(rank=2),
    mesh=oa.MeshConfig(data=1),
  )
  both = arguments.read({"data": {"path": [{}], "eval_path": [{}, {}]}}).data
  assert (both.path, both.eval_path) == ("the list", "the held-out list")
  assert json.dumps(both.path) == '"the list"'
  with pytest.raises(oa.UserError, match="steps is given beside a Config"):
    oa.Run(found, steps=3)
