"""Options of a second source."""

import pytest

from offalign.config import Config, PtxConfig
from offalign.config.config import flat
from offalign.errors import UserError


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"coef": -1.0}, "ptx.coef must be a number above 0, not -1.0"),
    ({"coef": float("inf")}, "ptx.coef must be finite"),
    ({"path": ""}, "ptx.path is missing: name the demonstrations"),
    ({"batch_size": 0}, "ptx.batch_size must be at least 1, not 0"),
    ({"batch_size": "4"}, "ptx.batch_size"),
  ],
)
def test_mistakes_name_the_option(options, said):
  with pytest.raises(UserError) as error:
    PtxConfig(**{"path": "demos.jsonl"} | options)
  assert said in str(error.value)


def test_a_run_has_none_unless_asked():
  assert Config().ptx is None
  known = flat(Config(ptx=PtxConfig("demos.jsonl", coef=0.5)))
  assert known["ptx.path"] == "demos.jsonl"
  assert (known["ptx.coef"], known["ptx.batch_size"]) == (0.5, None)
