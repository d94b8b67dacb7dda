"""A run whose reference is another policy than the one it starts from."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import rounds
import runs

from offalign import Policy
from offalign.data import batch
from offalign.learner import Learner, forward
from offalign.learner.optim import OptimizerConfig
from offalign.models.lora import LoraConfig
from offalign.policy.folder import read_about
from offalign.reference.scoring import distinct_logps
from offalign.reference.store import Store
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
WIDER = "decoder(width=24, layers=1, heads=2)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A log, a first policy pi_0, a second that began there, and a wider one."""
  path = tmp_path_factory.mktemp("reference")
  log = runs.write_log(path / "log.jsonl")
  sft = {"loss": "sft", "steps": 4}
  runs.train(log, path / "pi_0", **sft)
  again = {"init": str(path / "pi_0"), "model": None, "tokenizer": None}
  fast = OptimizerConfig(learning_rate=0.01)
  runs.train(log, path / "pi_1", seed=3, optimizer=fast, **sft, **again)
  runs.train(log, path / "wider", **{**sft, "model": WIDER})
  return path


def options(folder, **changes):
  given = {"model": None, "tokenizer": None, "init": str(folder / "pi_1")}
  return {"loss": "dpo", "data__pairs": "all", **given, **changes}


def ref_logps(run):
  """The stored log-probs of a run's reference, by the hash of the tokens."""
  identity = read_about(run.folder)["reference"]
  return Store(run.folder / "reference", identity).known


def expected(run, policy):
  """Log-probs of the run's training sequences under a policy, by hash."""
  rows = run.inputs.train
  used = np.unique(rows.completion_index)
  learner = Learner("dpo", policy.model, mesh=run.learner.mesh)
  logps = distinct_logps(rows, used, learner, policy.params, batch_size=8)
  keys = rows.keys()
  return {keys[u]: x for u, x in zip(used, logps, strict=True)}


@pytest.mark.parametrize(
  ("named", "lora"), [("pi_0", None), ("wider", LoraConfig(rank=2))]
)
def test_log_probs_are_those_of_the_named_policy(named, lora, folder, tmp_path):
  log, reference = folder / "log.jsonl", folder / named
  run = runs.train(
    log, tmp_path / "r", **options(folder, reference=str(reference), lora=lora)
  )
  found = ref_logps(run)
  right = expected(run, Policy.load(reference))
  drawn = found.keys() & right.keys()
  assert len(drawn) > 20
  for key in drawn:
    assert found[key] == pytest.approx(right[key], abs=1e-4)
  started = expected(run, Policy.load(folder / "pi_1"))
  assert any(abs(started[key] - found[key]) > 1e-2 for key in drawn)
  # Before the first step its distance from the reference is measured too.
  first = next(x for x in runs.metrics(run.folder) if x["step"] == 0)
  assert first["eval_objective/kl"] != 0


def test_each_step_may_run_the_named_policy(folder, tmp_path):
  """Whose divergence from the policy is that of both models' whole logits."""
  log, reference = folder / "log.jsonl", folder / "wider"
  given = options(folder, loss="tdpo2", reference=str(reference))
  run = runs.train(
    log, tmp_path / "r", log_every=1, steps=1, eval_samples=0, **given
  )
  rows = run.inputs.train
  picked = run.sampler.indices(0)
  drawn = batch(rows, picked)

  def log_probs(policy):
    score = jax.jit(forward.hidden, static_argnums=0)
    found = score(policy.model, policy.params, drawn).completions
    unembedding = policy.model.unembedding(policy.params)
    logits = np.asarray(found, np.float64) @ np.asarray(unembedding, np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))

  own, other = (
    log_probs(Policy.load(path)) for path in (folder / "pi_1", reference)
  )
  kls = (np.exp(other) * (other - own)).sum(-1)
  kls = np.where(drawn.completion_mask, kls, 0).sum(-1)
  right = np.average(kls, axis=0, weights=rows.weight[picked])
  line = next(x for x in runs.metrics(run.folder) if x["step"] == 1)
  assert line["kl/chosen"] == pytest.approx(right[0], rel=1e-4)
  assert line["kl/rejected"] == pytest.approx(right[1], rel=1e-4)
  # Their log-probs are of the same reference, in evaluations too.
  expect, found = expected(run, Policy.load(reference)), ref_logps(run)
  drawn_keys = found.keys() & expect.keys()
  assert len(drawn_keys) > 8
  for key in drawn_keys:
    assert found[key] == pytest.approx(expect[key], abs=1e-4)
  first = next(x for x in runs.metrics(run.folder) if x["step"] == 0)
  assert first["eval_kl/chosen"] > 0.01


def test_rounds_may_be_held_to_what_came_before_them(folder, tmp_path):
  """As iterated DPO with a fixed pi_0 is, from the policy of another run."""
  run = rounds.train(
    tmp_path / "r",
    "dpo",
    model=None,
    tokenizer=None,
    init=str(folder / "pi_1"),
    reference=str(folder / "pi_0"),
    grow={"rounds": 2},
    steps=4,
  )
  identity = read_about(run.folder)["reference"]
  assert identity.startswith(f"{folder / 'pi_0'} at step 4, weights ")
  assert len(ref_logps(run)) > 8
  started = read_about(run.folder)["start"]
  assert Store(run.folder / "reference", started).known == {}


def test_the_start_by_its_name_is_the_start(folder, tmp_path):
  log = folder / "log.jsonl"
  plain = runs.train(log, tmp_path / "a", **options(folder))
  named = runs.train(
    log,
    tmp_path / "b",
    **options(folder, reference=str(folder / "pi_1"), reference_step="4"),
  )
  assert runs.metrics(plain.folder) == runs.metrics(named.folder)
  assert (
    read_about(named.folder)["reference"] == (read_about(plain.folder)["start"])
  )


def test_an_earlier_checkpoint_is_another_reference(folder, tmp_path):
  log, name = folder / "log.jsonl", str(folder / "pi_0")
  run = Run(
    runs.config(
      log, tmp_path / "r", **options(folder, reference=name, reference_step="2")
    )
  )
  assert run._about["reference"].startswith(f"{name} at step 2, weights ")


def test_a_run_goes_on_with_its_reference_alone(folder, tmp_path):
  shutil.copytree(folder / "pi_0", tmp_path / "ref")
  log, out = folder / "log.jsonl", tmp_path / "r"
  given = options(folder, reference=str(tmp_path / "ref"))
  runs.train(log, out, steps=2, **given)
  runs.train(log, out, **given)
  whole = runs.train(log, tmp_path / "whole", **given)
  assert runs.metrics(out) == runs.metrics(whole.folder)
  kept = (out / "run.json").read_bytes()
  shutil.rmtree(tmp_path / "ref")
  shutil.copytree(folder / "pi_1", tmp_path / "ref")
  with pytest.raises(ValueError, match="was begun with another reference"):
    Run(runs.config(log, out, **{**given, "steps": 6}))
  assert (out / "run.json").read_bytes() == kept


def test_a_run_of_a_version_without_the_option_goes_on(folder, tmp_path):
  log, out = folder / "log.jsonl", tmp_path / "r"
  runs.train(log, out, steps=2, **options(folder))
  about = json.loads((out / "run.json").read_text("utf-8"))
  del about["reference"], about["config"]["reference"]
  del about["config"]["reference_step"]
  (out / "run.json").write_text(json.dumps(about), encoding="utf-8")
  runs.train(log, out, **options(folder))
  assert runs.metrics(out)[-1]["step"] == 4


def test_a_new_model_may_have_a_trained_reference(folder, tmp_path, capsys):
  """Which its tokenizer must suit, and then nothing is warned of."""
  run = runs.train(
    folder / "log.jsonl",
    tmp_path / "r",
    loss="kto",
    reference=str(folder / "pi_0"),
    data__label_rule="global_mean",
  )
  assert "random weights" not in capsys.readouterr().out
  assert ref_logps(run)


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    (
      {"reference": "strat"},
      "--cfg.reference=strat is no folder of a run or of a model; did you "
      "mean 'start'? (give start, round, ema(DECAY), or the run folder or "
      "model to hold to)",
    ),
    (
      {"reference": "empty"},
      "--cfg.reference=empty is not a run folder: it has no run.json",
    ),
    (
      {"reference": "pi_0", "reference_step": "3"},
      "--cfg.reference_step=3: ",
    ),
    (
      {"reference_step": "2"},
      "--cfg.reference_step=2 is set without a run in --cfg.reference",
    ),
    (
      {"reference": "pi_0", "loss": "sft"},
      "is set, but loss 'sft' has no reference",
    ),
    ({"reference": "round"}, "this run has no rounds"),
    ({"reference": "ema(0.9)"}, "--cfg.reference=ema(0.9) changes"),
    (
      {"reference": "pi_0", "init": None, "model": WIDER, "tokenizer": "bpe"},
      "name a reference with this run's tokenizer",
    ),
  ],
)
def test_what_is_no_reference_is_refused(
  changes, sentence, folder, tmp_path, monkeypatch
):
  (folder / "empty").mkdir(exist_ok=True)
  monkeypatch.chdir(folder)
  given = {**options(pathlib.Path()), **changes}
  if given["loss"] == "sft":
    del given["data__pairs"]
  assert sentence in runs.refused("log.jsonl", tmp_path / "r", **given)
