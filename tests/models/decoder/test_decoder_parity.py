"""Decoders give what transformers gives, and a mistake in one would show."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import traverse_util

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

from benchmarks import parity, parity_torch
from benchmarks.parity_decoders import CASES, build, weights
from offalign.models import functions, hf
from offalign.models.decoder.decoder import Decoder
from offalign.models.hf import decoder_families

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """name -> a folder, and the torch model that transformers wrote there."""

  @functools.cache
  def get(name):
    folder = tmp_path_factory.mktemp("decoder")
    return folder, build(name, folder)

  return get


@pytest.fixture(scope="module")
def expected(made):
  """name -> rows, and their logits."""

  @functools.cache
  def get(name):
    _, theirs = made(name)
    rows = parity.batch(theirs.config.vocab_size)
    found = parity_torch.logits(theirs, rows)
    return rows, [[y.detach().numpy() for y in row] for row in found]

  return get


@pytest.fixture(scope="module")
def loaded(made):
  """name -> our config, and params."""

  @functools.cache
  def get(name):
    folder, _ = made(name)
    config = decoder_families.from_hf(hf.read_config(folder))
    return config, hf.load(folder)[1]

  return get


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_parity(made, name):
  folder, theirs = made(name)
  # A separate network takes longer to compile; where layers differ, it is
  # worth it.
  network = "separate" if name in ("qwen 2", "gemma 3") else "shared"
  errors = parity.compare(folder, theirs, weights(theirs), network)
  assert 3 < errors.largest < 10
  assert errors.logits <= TOLERANCE
  assert errors.logps <= TOLERANCE
  assert errors.dpo <= TOLERANCE
  assert errors.dro_v <= TOLERANCE
  assert errors.greedy


@pytest.mark.parametrize(
  ("name", "mistake"),
  [(name, mistake) for name, case in CASES.items() for mistake in case.wrong],
)
def test_mistakes_show(loaded, expected, name, mistake):
  config, params = loaded(name)
  config = dataclasses.replace(config, **CASES[name].wrong[mistake])
  model = functions.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="mistaken",
    vocab_size=config.vocab_size,
    width=config.width,
  )
  # A module that was left out leaves its weights.
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  flat = traverse_util.flatten_dict(params)
  params = traverse_util.unflatten_dict(
    {path: flat[path] for path in traverse_util.flatten_dict(shapes)}
  )
  assert parity.logit_error(model, params, *expected(name)) > TOLERANCE


def test_mistaken_groups_show(made, expected):
  """Queries that share keys are neighbours, not every second."""
  model, params = hf.load(made("mistral")[0])
  query = np.asarray(params["layers"]["query"]["kernel"])
  *lead, columns = query.shape
  heads = query.reshape(*lead, 2, 2, columns // 4).swapaxes(-2, -3)
  params["layers"]["query"]["kernel"] = heads.reshape(query.shape)
  assert parity.logit_error(model, params, *expected("mistral")) > TOLERANCE
