"""T5 gives what transformers gives, and a mistake in one would show."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

from benchmarks import parity, parity_t5, parity_torch
from offalign.models import functions, hf
from offalign.models.hf import t5_family
from offalign.models.t5 import blocks
from offalign.models.t5.t5 import T5

TOLERANCE = 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "network"),
  [("t5 v1.0", "separate"), ("t5 v1.1", "shared"), ("flan-t5", "separate")],
)
def test_parity(t5_case, name, network):
  folder, theirs = t5_case(name)
  errors = parity.compare(folder, theirs, parity_t5.WEIGHTS, network)
  assert 3 < errors.largest < 10
  assert errors.logits < TOLERANCE
  assert errors.logps < TOLERANCE
  assert errors.dpo < TOLERANCE
  assert errors.dro_v < TOLERANCE
  assert errors.greedy


@pytest.fixture(scope="module")
def expected(t5_case):
  """name -> rows, and their logits; made once."""
  made = {}

  def get(name):
    if name not in made:
      _, theirs = t5_case(name)
      rows = parity.batch(theirs.config.vocab_size)
      found = parity_torch.logits(theirs, rows)
      made[name] = rows, [[y.detach().numpy() for y in row] for row in found]
    return made[name]

  return get


def test_gated_silu(t5_case, expected):
  model, params = hf.load(t5_case("ul2")[0])
  assert parity.logit_error(model, params, *expected("ul2")) < TOLERANCE


def test_both_ways_to_spell_an_untied_head(t5_case, expected, tmp_path):
  """Version 4 of transformers: tie_word_embeddings=false, no other key."""
  folder, _ = t5_case("t5 v1.1")
  config = json.loads((folder / "config.json").read_text())
  assert config.pop("scale_decoder_outputs") is False
  assert config.pop("tie_word_embeddings") is True
  config["tie_word_embeddings"] = False
  config["torch_dtype"] = config.pop("dtype")
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
  model, params = hf.load(tmp_path)
  assert parity.logit_error(model, params, *expected("t5 v1.1")) < TOLERANCE


def erf_gelu(x):
  return jax.nn.gelu(x, approximate=False)


MUTATIONS = [
  ("t5 v1.0", {"scaled": False}, None),
  ("t5 v1.1", {"scaled": True}, None),
  ("t5 v1.1", {}, erf_gelu),
  ("t5 v1.0", {}, jax.nn.silu),
  ("t5 v1.1", {"max_distance": 16}, None),
  ("t5 v1.1", {"epsilon": 1e-5}, None),
  ("flan-t5", {"epsilon": 1e-6}, None),
  ("t5 v1.1", {"start": 1}, None),
]


@pytest.mark.parametrize(("name", "changed", "activation"), MUTATIONS)
def test_mistakes_show(
  t5_case, expected, monkeypatch, name, changed, activation
):
  folder, _ = t5_case(name)
  _, params = hf.load(folder)
  config = t5_family.from_hf(hf.read_config(folder))
  config = dataclasses.replace(config, tied="head" not in params, **changed)
  if activation is not None:
    monkeypatch.setitem(blocks._ACTIVATIONS, config.activation, activation)
  model = functions.as_model(
    lambda rngs: T5(config, rngs=rngs),
    spec="mutant",
    vocab_size=config.vocab_size,
    width=config.width,
  )
  assert parity.logit_error(model, params, *expected(name)) > 3 * TOLERANCE


@pytest.mark.parametrize(
  ("source", "target"),
  [("query", "key"), ("value", "out"), ("bias", "bias")],
)
def test_mistaken_weights_show(t5_case, expected, source, target):
  model, params = hf.load(t5_case("t5 v1.1")[0])
  params = jax.tree.map(np.asarray, params)
  if source == "bias":  # the encoder's and the decoder's are not the same
    params["decoder"]["bias"], params["encoder"]["bias"] = (
      params["encoder"]["bias"],
      params["decoder"]["bias"],
    )
  else:
    cross = params["decoder"]["layers"]["cross"]
    one, other = cross[source]["kernel"], cross[target]["kernel"]
    swap = (0, 1, 2) if one.shape == other.shape else (0, 2, 1)
    cross[source] = {"kernel": other.transpose(swap)}
  assert parity.logit_error(model, params, *expected("t5 v1.1")) > TOLERANCE


def test_bfloat16_is_near(t5_case, expected):
  folder, _ = t5_case("flan-t5")
  model, params = hf.load(folder, dtype="bfloat16")
  assert {x.dtype.name for x in jax.tree.leaves(params)} == {"bfloat16"}
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), params)
  error = parity.logit_error(model, wide, *expected("flan-t5"))
  assert TOLERANCE < error < 0.5
