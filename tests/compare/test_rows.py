import comparisons

from offalign.compare import rows


def labels(*configs, loss="dpo"):
  return rows.labels(
    [
      comparisons.contestant(f"run{i}", loss=loss, config=config)
      for i, config in enumerate(configs)
    ]
  )


def test_seeds_of_one_run_share_a_label():
  one = {"seed": 0, "out": "a", "steps": 4}
  assert labels(one, one | {"seed": 1, "out": "b"}) == ["dpo", "dpo"]


def test_what_differs_in_more_has_its_name():
  one = {"seed": 0, "steps": 4}
  assert labels(one, one | {"steps": 5}) == ["dpo, run0", "dpo, run1"]
  assert labels(one, one) == ["dpo, run0", "dpo, run1"]
  assert labels({}, loss=None) == ["model folder, run0"]
