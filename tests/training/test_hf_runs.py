"""Runs that start from a model folder, and their export."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from hf_world import config, logits, rows, write_tokenizer

from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.models import hf
from offalign.models.hf.folder import open_folder
from offalign.models.hf.read_leaves import flatten
from offalign.policy import start
from offalign.policy.folder import read_about
from offalign.policy.policy import Policy
from offalign.reference import store
from offalign.training.run import Run


@pytest.fixture(scope="module")
def origin_folder(t5_parts, tmp_path_factory):
  """A small T5 v1.1 with its tokenizer."""
  folder = tmp_path_factory.mktemp("origin")
  config, model, params = t5_parts
  params = jax.tree.map(lambda x: 0.25 * x, params)
  hf.write(folder, config, model, params)
  write_tokenizer(folder)
  return folder


@pytest.fixture(scope="module")
def run(origin_folder, scored, tmp_path_factory):
  """A run of three steps; its folder."""
  folder = tmp_path_factory.mktemp("runs") / "one"
  Run(config(scored, folder, model=str(origin_folder))).train()
  return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  """What is exported from the run folder alone."""
  alone = tmp_path_factory.mktemp("moved") / "run"
  shutil.copytree(run, alone)
  out = tmp_path_factory.mktemp("exported") / "out"
  policy = Policy.load(alone)
  assert policy.step == 3
  policy.export(out)
  return out


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_the_folder(run, origin_folder):
  about = json.loads((run / "run.json").read_text())
  assert about["model"] == f"hf:{origin_folder}"
  assert about["vocab_size"] == 41
  fingerprint = open_folder(origin_folder).fingerprint
  assert about["start"] == f"{origin_folder}, weights {fingerprint}"
  kept = json.loads((run / "model" / "origin.json").read_text())
  assert kept == {
    "name": str(origin_folder),
    "fingerprint": fingerprint,
    "tied": False,
  }
  assert store.Store(run / "reference", about["start"]).known


@pytest.mark.slow
def test_an_export_is_the_policy_of_the_newest_checkpoint(
  run, exported, origin_folder
):
  model, params = hf.load(exported)
  about = read_about(run)
  kept = start.restore(run, start.model_of(run, about), sharding.one_device())
  flat, expected = flatten(params), flatten(kept)
  first = flatten(hf.load(origin_folder)[1])
  assert flat.keys() == expected.keys()
  for path in flat:
    np.testing.assert_array_equal(flat[path], expected[path])
    assert not np.array_equal(flat[path], first[path])
  assert np.isfinite(logits(model, params)).all()
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert (exported / name).read_bytes() == (origin_folder / name).read_bytes()
  assert not (exported / "origin.json").exists()


@pytest.mark.slow
def test_transformers_reads_an_export(exported):
  torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
  transformers = pytest.importorskip(
    "transformers", reason="parity needs offalign[parity]"
  )
  theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(exported)
  prompts, mask, completions, _ = (
    torch.tensor(x.astype(np.int64)) for x in rows()
  )
  with torch.no_grad():
    out = theirs.eval()(
      input_ids=prompts, attention_mask=mask, labels=completions[:, 0]
    )
  ours = logits(*hf.load(exported))
  np.testing.assert_allclose(
    jax.nn.log_softmax(ours), torch.log_softmax(out.logits, -1), atol=1e-4
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
  assert tokenizer("w3 w5").input_ids == [6, 8, 1]


@pytest.mark.slow
def test_a_run_starts_from_a_run(run, scored, tmp_path):
  out = tmp_path / "child"
  child = Run(
    dataclasses.replace(
      config(scored, out, init=str(run), value=ValueConfig(network="shared")),
      steps=1,
    )
  )
  policy = flatten(child._first)
  about = read_about(run)
  kept = flatten(
    start.restore(run, start.model_of(run, about), sharding.one_device())
  )
  for path in policy:
    np.testing.assert_array_equal(policy[path], kept[path])
  child.train()
  Policy.load(out).export(tmp_path / "out", dtype="bfloat16")
  written = json.loads((tmp_path / "out" / "config.json").read_text())
  assert written["torch_dtype"] == "bfloat16"
  assert written["architectures"] == ["T5ForConditionalGeneration"]
  model, params = hf.load(tmp_path / "out")
  assert np.isfinite(logits(model, params)).all()


@pytest.mark.slow
def test_other_weights_behind_the_same_name_are_noticed(
  run, scored, origin_folder, tmp_path
):
  moved = tmp_path / "origin"
  shutil.copytree(origin_folder, moved)
  out = tmp_path / "run"
  shutil.copytree(run, out)
  about = json.loads((out / "run.json").read_text())
  swapped = json.dumps(about).replace(str(origin_folder), str(moved))
  swapped = json.loads(swapped)
  swapped["config"]["out"] = str(out)
  (out / "run.json").write_text(json.dumps(swapped))
  Run(config(scored, out, model=str(moved)))
  file = moved / "model.safetensors"
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  with pytest.raises(UserError, match="begun with another start"):
    Run(config(scored, out, model=str(moved)))


def test_a_tokenizer_with_more_tokens_than_the_model(
  origin_folder, scored, tmp_path
):
  with pytest.raises(UserError, match="vocabulary of 41 tokens: give the tok"):
    Run(
      config(
        scored, tmp_path / "run", model=str(origin_folder), tokenizer="byte"
      )
    )


def test_a_model_beside_init_is_refused(run, scored, tmp_path):
  with pytest.raises(UserError, match=r"^model=/no/where is set beside"):
    Run(config(scored, tmp_path / "x", init=str(run), model="/no/where"))


def test_a_key_that_is_left_out_stays_out(origin_folder, scored, tmp_path):
  folder = shutil.copytree(origin_folder, tmp_path / "odd")
  file = folder / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {"odd": True}))
  given = {"model": str(folder), "steps": 1}
  made = dataclasses.replace(config(scored, tmp_path / "out"), **given)
  with pytest.raises(UserError, match=r"odd=True; where .* model_ignore=odd"):
    Run(made)
  Run(dataclasses.replace(made, model_ignore="odd")).train()
  # The copy in the run folder says so: it is opened and exported without.
  Policy.load(tmp_path / "out").export(tmp_path / "exported")
  model, _ = hf.load(tmp_path / "exported")
  assert model.vocab_size == 41
  assert json.loads((tmp_path / "exported/config.json").read_text())["odd"]


def test_a_new_model_has_no_keys_to_leave_out(scored, tmp_path):
  with pytest.raises(UserError, match=r"model_ignore=odd is for a model that"):
    Run(config(scored, tmp_path / "out", model_ignore="odd"))


def test_a_vocabulary_too_small_for_the_data(origin_folder, scored, tmp_path):
  """The tokenizer has 33 entries; the model has 41, and then 20, tokens."""
  folder = shutil.copytree(origin_folder, tmp_path / "small")
  model, params = hf.load(folder)
  params = jax.tree.map(np.asarray, params)
  params["embedding"]["table"] = params["embedding"]["table"][:20]
  params["head"]["kernel"] = params["head"]["kernel"][:, :20]
  about = hf.read_config(folder) | {"vocab_size": 20}
  small = hf.describe(about, spec=model.spec, tied=False)
  for file in folder.glob("model*"):
    file.unlink()
  hf.write(folder, about, small, params)
  with pytest.raises(
    UserError, match=r"rows.jsonl:\d+: the tokenizer makes token \d+ \('w"
  ):
    Run(config(scored, tmp_path / "out", model=str(folder)))
