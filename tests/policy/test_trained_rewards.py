"""Reward models in run folders: their export, and what starts from them."""

import json

import jax
import numpy as np
import pytest
import runs

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

import torch
import transformers
from tiny_folders import (
  TEMPLATE,
  keep_untrained,
  write_model,
  write_tokenizer,
)

from offalign import losses
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.models.lora import LoraConfig
from offalign.policy import trained_rewards
from offalign.policy.policy import Policy
from offalign.policy.reward_model import Rewards
from offalign.training.run import Run

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]

PAIRS = [
  {"prompt": f"What is {i} plus 1?", "chosen": f" {i + 1}", "rejected": " none"}
  for i in range(12)
]
LORA = LoraConfig(rank=2, targets="out,down")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  folder = tmp_path_factory.mktemp("base")
  write_model(folder, "qwen3")
  write_tokenizer(folder, template=TEMPLATE)
  return folder


def make(base, out, **options):
  given = {
    "loss": "bradley_terry",
    "model": str(base),
    "batch_size": 4,
    "data": {"path": PAIRS, "eval_fraction": 0.0},
  }
  return Run(out=str(out), **{**given, **options})


def learned(state):
  """As if trained: other weights everywhere but in the head's bias."""
  rng = np.random.default_rng(0)

  def moved(path, x):
    if path[-1].key == "bias" and x.ndim == 0:
      return x
    noise = rng.normal(0, 0.1, x.shape).astype(x.dtype)
    return jax.device_put(x + noise, x.sharding)

  return state.replace(
    params=jax.tree_util.tree_map_with_path(moved, state.params)
  )


def keep(base, out, **options):
  return keep_untrained(make(base, out, **options), learned)


def texts():
  return [(r["prompt"], r[k]) for r in PAIRS for k in ("chosen", "rejected")]


def classifier_scores(model, folder, end=""):
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  inputs = tokenizer(
    [prompt + reply + end for prompt, reply in texts()],
    padding=True,
    padding_side="right",
    return_tensors="pt",
  )
  with torch.no_grad():
    return model.eval()(**inputs).logits[:, 0].numpy()


def check(model, folder, run):
  ours, _, _ = Rewards(run, "newest", 8).of(texts())
  assert np.std(ours) > 0.01
  found = classifier_scores(model, folder)
  np.testing.assert_allclose(found, ours, atol=1e-4)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"value": ValueConfig(network="shared", per="completion")},
    {"lora": LORA},
    {"lora": LORA, "value": ValueConfig("shared", "completion")},
    {"loss": "bradley_terry + 0.5*bradley_terry(center=0.01)"},
  ],
  ids=["separate", "shared", "LoRA", "shared, LoRA", "sum"],
)
def test_an_export_scores_as_the_run(base, tmp_path, options, capsys):
  run = keep(base, tmp_path / "rm", **options)
  assert json.loads((run / "run.json").read_text())["trains"] == "rewards"
  out = tmp_path / "out"
  Policy.load(run).export(out)
  auto = transformers.AutoModelForSequenceClassification
  model = auto.from_pretrained(out)
  assert type(model).__name__ == "Qwen3ForSequenceClassification"
  tokenizer = transformers.AutoTokenizer.from_pretrained(out)
  assert model.config.pad_token_id == tokenizer.pad_token_id == 1
  assert not (out / "generation_config.json").exists()
  check(model, out, run)
  # A text that ends with the pad token is scored without it.
  ended = classifier_scores(model, out, tokenizer.eos_token)
  np.testing.assert_allclose(ended, classifier_scores(model, out), atol=1e-5)
  assert "value function" not in capsys.readouterr().out
  if "lora" in options:
    peft = pytest.importorskip("peft", reason="needs peft")
    alone = tmp_path / "alone"
    Policy.load(run).export(alone, adapter=True)
    found = auto.from_pretrained(base, num_labels=1, pad_token_id=1)
    check(peft.PeftModel.from_pretrained(found, alone), alone, run)


def test_a_conversation_is_scored_as_the_readme_says(base, tmp_path):
  talks = [
    [
      {"role": "user", "content": row["prompt"]},
      {"role": "assistant", "content": row["chosen"]},
    ]
    for row in PAIRS
  ]
  run = keep(base, tmp_path / "rm")
  Policy.load(run).export(tmp_path / "out")
  folder = tmp_path / "out"
  auto = transformers.AutoModelForSequenceClassification
  model = auto.from_pretrained(folder).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  inputs = tokenizer.apply_chat_template(
    talks,
    continue_final_message=True,
    padding=True,
    return_dict=True,
    return_tensors="pt",
  )
  with torch.no_grad():
    found = model(**inputs).logits[:, 0].numpy()
  prompts = [((("user", row["prompt"]),), row["chosen"]) for row in PAIRS]
  ours, _, _ = Rewards(run, "newest", 8).of(prompts)
  np.testing.assert_allclose(found, ours, atol=1e-4)


def biased(state):
  state = learned(state)
  head = state.params["value"]["head"] | {"bias": jax.numpy.asarray(0.5)}
  value = state.params["value"] | {"head": head}
  return state.replace(params=state.params | {"value": value})


def test_heads_that_no_classifier_has_are_refused(base, tmp_path):
  cure = r"judge with reward_model\(run='.*'\) instead: "
  run = keep_untrained(make(base, tmp_path / "bias"), biased)
  with pytest.raises(UserError, match=cure + "its head has a bias of 0.5"):
    Policy.load(run).export(tmp_path / "out")
  value = ValueConfig("shared", "token")
  run = keep(base, tmp_path / "token", value=value)
  with pytest.raises(UserError, match=cure + "it was trained with value.per="):
    Policy.load(run).export(tmp_path / "out")
  t5 = tmp_path / "t5"
  write_model(t5, "t5")
  write_tokenizer(t5)
  run = keep(t5, tmp_path / "run")
  with pytest.raises(UserError, match=cure + "transformers has no classifier"):
    Policy.load(run).export(tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_it_completes_nothing(base, tmp_path):
  policy = Policy.load(keep(base, tmp_path / "rm"))
  sentence = r"trained a reward model \(bradley_terry\) and no policy that co"
  with pytest.raises(UserError, match=sentence):
    policy.generate(["x"])
  with pytest.raises(UserError, match=sentence):
    policy.logps([{"prompt": "x", "completion": "y"}], form="sft")
  # An earlier version's run.json does not say what was trained.
  del policy.about["trains"]
  with pytest.raises(UserError, match=sentence):
    policy.generate(["x"])
  policy.about["loss"] = "nobody:knows"
  assert not trained_rewards.is_reward_model(policy.folder, policy.about)


def test_what_losses_train():
  for spec in ("bradley_terry", "bradley_terry + bradley_terry(center=0.1)"):
    assert trained_rewards.what(losses.get(spec)) == "rewards"
  for spec in ("dro_v", "dpo + 0.2*sft"):
    assert trained_rewards.what(losses.get(spec)) == "policy"


def test_a_value_function_stays_in_the_run_folder(base, tmp_path, capsys):
  rows = [
    {"prompt": row["prompt"], "completion": row["chosen"], "reward": float(i)}
    for i, row in enumerate(PAIRS)
  ]
  data = {"path": rows, "eval_fraction": 0.0}
  run = keep(base, tmp_path / "run", loss="dro_v", data=data)
  Policy.load(run).export(tmp_path / "out")
  said = capsys.readouterr().out
  assert (
    said.count(f"the value function that dro_v trained stays in {run}") == 1
  )
  Policy.load(run).export(tmp_path / "again", verbose=False)
  assert capsys.readouterr().out == ""


class TestInit:
  def state(self, run):
    """The state that a run begins with."""
    state = run.learner.init(run._first, run.config.seed)
    return run._from_reward_model(state)

  def test_a_reward_model_goes_on_with_its_head(self, base, tmp_path, capsys):
    parent = keep(base, tmp_path / "rm")
    run = make(base, tmp_path / "on", model=None, init=str(parent))
    child = keep_untrained(run, lambda state: self.state(run))
    assert f"the reward model of {parent} goes on" in capsys.readouterr().out
    before, _, _ = Rewards(parent, "newest", 8).of(texts())
    after, _, _ = Rewards(child, "newest", 8).of(texts())
    np.testing.assert_allclose(after, before, atol=1e-6)

  def test_adapters_on_a_reward_model_go_on_with_it(self, base, tmp_path):
    parent = keep(base, tmp_path / "rm", lora=LORA)
    run = make(base, tmp_path / "on", model=None, init=str(parent), lora=LORA)
    child = keep_untrained(run, lambda state: self.state(run))
    before, _, _ = Rewards(parent, "newest", 8).of(texts())
    after, _, _ = Rewards(child, "newest", 8).of(texts())
    np.testing.assert_allclose(after, before, atol=1e-5)

  def test_a_policy_starts_from_its_trunk(self, base, tmp_path, capsys):
    parent = keep(base, tmp_path / "rm")
    options = {"model": None, "init": str(parent)}
    run = make(base, tmp_path / "on", loss="dpo", **options)
    self.state(run)
    said = capsys.readouterr().out
    assert f"note: {parent} trained a reward model: the policy starts" in said
    policy = Policy.load(parent)
    trunk, _ = trained_rewards.restore(
      parent, policy.about, policy.model, run.learner.mesh
    )
    for ours, theirs in zip(
      jax.tree.leaves(run._first), jax.tree.leaves(trunk), strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)

  def test_another_place_of_the_head_is_refused(self, base, tmp_path):
    value = ValueConfig("separate", "token")
    parent = keep(base, tmp_path / "rm", value=value)
    options = {"model": None, "init": str(parent)}
    with pytest.raises(UserError) as error:
      make(base, tmp_path / "on", **options)
    assert "give --cfg.value.per=token" in runs.in_flags(error.value)
    make(base, tmp_path / "on", value=value, **options)
