"""A reward model is the classifier of one label of `transformers`."""

import functools

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

import torch
import transformers

from benchmarks import parity_decoders
from offalign.errors import UserError
from offalign.learner.value import ValueConfig, values
from offalign.models import hf, lora
from offalign.models.hf import classifier, peft_adapter
from offalign.models.hf.folder import read_config
from offalign.models.lora import LoraConfig
from offalign.types import Batch

TOLERANCE = 1e-4
P, T = 6, 5


def batch(vocab_size):
  rng = np.random.default_rng(0)
  lengths = np.array([[2], [5], [3]])
  return Batch(
    prompts=rng.integers(2, vocab_size, (3, P)).astype(np.int32),
    prompt_mask=np.ones((3, P), bool),
    completions=rng.integers(2, vocab_size, (3, 1, T)).astype(np.int32),
    completion_mask=np.arange(T) < lengths[..., None],
    weight=np.ones(3, np.float32),
  )


def scores(model, trunk, kernel, rows):
  """What offalign's value head says, the rewards of a reward model."""

  def of(trunk, kernel):
    params = {"trunk": trunk, "head": {"kernel": kernel, "bias": 0.0}}
    config = ValueConfig(network="separate", per="completion")
    return values(config, model, params, rows, None)[:, 0]

  return np.asarray(jax.jit(of)(trunk, kernel))


def theirs(classify, rows, pad):
  """The same texts without their ends, padded to the right."""
  lengths = rows.completion_mask.sum(-1)[:, 0] - 1
  ids = np.concatenate([rows.prompts, rows.completions[:, 0]], axis=1)
  real = np.arange(P + T) < P + lengths[:, None]
  with torch.no_grad():
    return classify(
      input_ids=torch.tensor(np.where(real, ids, pad).astype(np.int64)),
      attention_mask=torch.tensor(real.astype(np.int64)),
    ).logits.numpy()


def kernel_of(model):
  return np.random.default_rng(1).normal(0, 0.3, model.width).astype("float32")


@pytest.mark.parametrize(
  "name",
  [
    name
    for name, case in parity_decoders.CASES.items()
    if getattr(transformers, case.config).model_type in classifier.CLASSES
  ],
)
def test_parity_of_every_family(tmp_path, name):
  folder, out = tmp_path / "base", tmp_path / "out"
  parity_decoders.build(name, folder)
  model, params = hf.load(folder)
  kernel, rows = kernel_of(model), batch(model.vocab_size)
  out.mkdir()
  config = read_config(folder) | {"pad_token_id": 0}
  classifier.write(out, config, model, params, kernel, max_shard_size=20_000)
  written = read_config(out)
  assert written["architectures"] == [classifier.class_of(config)]
  auto = transformers.AutoModelForSequenceClassification
  found, report = auto.from_pretrained(
    out, attn_implementation="eager", output_loading_info=True
  )
  assert not any(report[key] for key in ("missing_keys", "unexpected_keys"))
  assert found.config.num_labels == 1
  assert type(found).__name__ == classifier.class_of(config)
  logits = theirs(found.eval(), rows, 0)
  expected = scores(model, params, kernel, rows)
  assert np.abs(expected).max() > 0.1
  np.testing.assert_allclose(logits[:, 0], expected, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "maps"), [("qwen 3", "all"), ("gpt 2", "up")])
def test_parity_through_peft(tmp_path, name, maps):
  peft = pytest.importorskip("peft", reason="needs peft")
  folder, alone = tmp_path / "base", tmp_path / "adapter"
  parity_decoders.build(name, folder)
  model, params = hf.load(folder)
  kernel, rows = kernel_of(model), batch(model.vocab_size)
  config = LoraConfig(rank=2, alpha=3.0, targets=maps)
  shapes = jax.eval_shape(
    functools.partial(lora.init, config), jax.random.key(0), params
  )
  rng = np.random.default_rng(2)
  adapters = jax.tree.map(
    lambda x: rng.normal(0, 0.15, x.shape).astype(np.float32), shapes
  )
  alone.mkdir()
  peft_adapter.write_adapter(
    alone,
    read_config(folder),
    model,
    config,
    adapters,
    base=str(folder),
    kernel=kernel,
  )
  auto = transformers.AutoModelForSequenceClassification
  base = auto.from_pretrained(
    folder, num_labels=1, pad_token_id=0, attn_implementation="eager"
  )
  found = peft.PeftModel.from_pretrained(base, alone).eval()
  merged = lora.merge(config, params, adapters)
  expected = scores(model, merged, kernel, rows)
  plain = scores(model, params, kernel, rows)
  assert np.abs(expected - plain).max() > 0.01
  logits = theirs(found, rows, 0)
  np.testing.assert_allclose(logits[:, 0], expected, atol=TOLERANCE)


def test_a_family_without_one_is_refused():
  with pytest.raises(UserError, match="no classifier of 't5' whose head is on"):
    classifier.class_of({"model_type": "t5"})
