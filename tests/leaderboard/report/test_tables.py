from offalign.errors import speaking
from offalign.leaderboard.aggregate import aggregate
from offalign.leaderboard.report import tables


def test_what_does_not_rank_says_how_to(row):
  (group,) = aggregate([row(metrics={"length": 3.0})]).groups
  said = "Nothing here has a metric that ranks by default: choose one with "
  assert tables.caption(group) == f"{said}sort."
  with speaking(lambda name: f"--{name}"):
    assert tables.caption(group) == f"{said}--sort."
