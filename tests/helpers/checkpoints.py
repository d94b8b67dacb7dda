"""Tiny random checkpoints, made once by transformers; or by us without it."""

import hf_world
import jax
import numpy as np
import pytest

from offalign.models import hf
from offalign.models.hf import t5_family
from offalign.models.t5.config import T5Config

TINY = T5Config(
  vocab_size=41,
  width=12,
  layers=2,
  decoder_layers=3,
  heads=3,
  head_dim=6,
  mlp_width=20,
  buckets=8,
  max_distance=12,
)


@pytest.fixture(scope="session")
def t5_parts():
  """config.json, model and params of a small T5 v1.1, made by us."""
  config = t5_family.to_hf(TINY) | {"torch_dtype": "float32"}
  model = hf.describe(config, spec="hf:tiny", tied=False)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  return config, model, params


@pytest.fixture
def t5_folder(t5_parts, tmp_path):
  """A folder of its own with that model."""
  folder = tmp_path / "tiny"
  folder.mkdir()
  config, model, params = t5_parts
  hf.write(folder, config, model, params)
  return folder


@pytest.fixture(scope="session")
def t5_case(tmp_path_factory):
  """name -> a folder, and the torch model that transformers wrote there."""
  from benchmarks import parity_t5

  made = {}

  def get(name):
    if name not in made:
      folder = tmp_path_factory.mktemp("t5")
      made[name] = folder, parity_t5.build(name, folder)
    return made[name]

  return get


@pytest.fixture(scope="session")
def scored(tmp_path_factory):
  """A file of scored completions."""
  file = tmp_path_factory.mktemp("data") / "rows.jsonl"
  hf_world.write_data(file)
  return file
