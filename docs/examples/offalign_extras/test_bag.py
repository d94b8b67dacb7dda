"""What offalign asks of every model, asked of this one."""

from offalign.testing import check_model


def test_the_model_keeps_its_contracts() -> None:
  """With another width than the default."""
  check_model("bag(width=12)")
