"""What offalign asks of every loss, asked of this one."""

from offalign.testing import check_loss


def test_the_loss_keeps_its_contracts() -> None:
  """With its defaults, and with other options."""
  check_loss("focal_dpo")
  check_loss("focal_dpo(gamma=0.5)")
