"""What every family keeps, whatever its switches."""

import dataclasses

import jax
import pytest

from offalign import models
from offalign.models import functions
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.models.decoder.decoder import Decoder
from offalign.models.positions import Rope
from offalign.testing import MODEL_CONTRACTS
from offalign.testing.models import Case
from offalign.testing.models.case import V

GEMMA = DecoderConfig(
  vocab_size=V,
  width=16,
  layers=2,
  heads=4,
  kv_heads=2,
  head_dim=6,
  mlp_width=20,
  activation="silu",
  gated=True,
  plus_one=True,
  post_norms=True,
  qk_norm=True,
  biases=("query", "out", "gate", "down"),
  embedding_scale=True,
  score_scale=0.3,
  score_cap=3.0,
  logit_cap=4.0,
  ropes=(Rope(50.0), Rope(1000.0, 2.0)),
  windows=(4, None),
  tied=True,
)
"""Switches that only a checkpoint sets, most of them on."""
EXPERTS = DecoderConfig(
  vocab_size=V,
  width=16,
  layers=2,
  heads=4,
  activation="silu",
  gated=True,
  experts=Mixture(count=5, chosen=2, width=6, balance=0.1),
)
ALL_EXPERTS = dataclasses.replace(
  EXPERTS, experts=dataclasses.replace(EXPERTS.experts, chosen=5)
)
"""Of whose choice no rounding changes anything."""
SPECS = (
  "decoder(width=16, heads=2)",
  "decoder(width=16, heads=2, positions=learned, max_positions=20, "
  "prefix_lm=True, tied=True)",
  "t5(width=16, heads=2, head_dim=6, buckets=8, max_distance=16)",
  GEMMA,
  EXPERTS,
)


OTHERS = sorted(set(models.names()) - {str(x).partition("(")[0] for x in SPECS})
"""What is registered and not above, with its defaults."""


@pytest.fixture(scope="module", autouse=True)
def _strict():
  with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
    yield


def build(asked):
  if isinstance(asked, str):
    return models.make(asked, vocab_size=V)
  return functions.as_model(
    lambda rngs: Decoder(asked, rngs=rngs),
    spec="gemma",
    vocab_size=V,
    width=asked.width,
  )


@pytest.fixture(
  scope="module",
  params=(*SPECS, *OTHERS),
  ids=("rope", "learned", "t5", "gemma", "experts", *OTHERS),
)
def case(request):
  return Case(build(request.param))


@pytest.mark.parametrize("contract", MODEL_CONTRACTS)
def test_a_model_keeps_its_contracts(case, contract, request):
  if contract == "precision" and "experts" in request.node.name:
    # A token near the border of two experts may go to the other one.
    case = Case(build(ALL_EXPERTS))
  MODEL_CONTRACTS[contract](case)


def test_layers_are_stacked(case):
  stacked = [
    leaf.shape[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(case.params)
    if any(key.key.startswith("layers") for key in path)
  ]
  assert len(stacked) >= 8
  assert set(stacked) == {2}


def test_first_weights_differ_in_every_number(case):
  a, c = case.init(1), case.init(2)
  assert not (a["embedding"]["table"] == c["embedding"]["table"]).any()
