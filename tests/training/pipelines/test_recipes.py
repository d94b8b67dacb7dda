"""The pipelines there are."""

import pytest

from offalign import losses
from offalign.config import Config
from offalign.errors import UserError
from offalign.programs import flags as flags_lib
from offalign.training.pipelines import recipes


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_pipeline_ends_in_rounds_and_its_options_are_there(name):
  recipe = recipes.get(name)
  assert [each.rounds for each in recipe.stages] == [False, False, True]
  known = {"data": "data", "grow": "grow"}
  fields = set(flags_lib.attribute_docs(Config))
  for each in recipe.stages:
    losses.get(each.options["loss"])
    for option in each.options:
      group = option.split(".")[0]
      assert group in fields or group in known, option


def test_a_name_that_is_none_is_answered_with_the_nearest():
  with pytest.raises(UserError, match="no pipeline 'rlfh'; did you mean 'rlhf"):
    recipes.get("rlfh")
