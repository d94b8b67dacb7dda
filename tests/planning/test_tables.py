"""The tables that plans are made with."""

import jax
import pytest

from offalign.planning import chips, from_config
from offalign.planning.chips import CHIPS
from offalign.planning.shapes import SHAPES


def test_the_table_of_chips_is_sane():
  for name, chip in CHIPS.items():
    assert chip.name == name
    assert chips.find(chip.example) == chip
    # FLOPs an element moved: no chip is out of line with the others.
    assert 100 < chip.flops / chip.hbm_rate < 700, name
    assert 2 < chip.hbm_rate / chip.ici_rate < 13, name


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_have_the_sizes_that_are_published(name):
  billions = {
    "google/flan-t5-base": 0.248,
    "google/flan-t5-large": 0.783,
    "google/flan-t5-xl": 2.850,
    "meta-llama/Meta-Llama-3-8B": 8.030,
    "meta-llama/Meta-Llama-3-70B": 70.554,
    "Qwen/Qwen2.5-7B": 7.616,
  }
  model = from_config.model_of(name)
  leaves = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))
  size = sum(leaf.size for leaf in leaves)
  assert size / 1e9 == pytest.approx(billions[name], abs=5e-4)
