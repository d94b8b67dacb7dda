import numpy as np

from offalign.testing.losses.arrays import evaluate

MARGINS = np.array([0.0, 1.0, 11.0, -2.5])


def test_equal_values_cost_the_softplus_of_the_margin():
  zeros = np.zeros((4, 2))
  for spec, scale in (("margin=1.0", 1.0), ("margin=0.5", 0.5)):
    found = evaluate(
      f"bradley_terry({spec})", logps=zeros, values=zeros, margins=MARGINS
    )
    want = np.log1p(np.exp(scale * MARGINS))
    np.testing.assert_allclose(found.values, want, rtol=1e-12)


def test_it_is_trls_loss_with_a_margin():
  values = np.array([[1.0, 0.2], [0.1, 2.0], [3.0, -1.0], [0.5, 0.5]])
  found = evaluate(
    "bradley_terry(margin=1.0)",
    logps=np.zeros((4, 2)),
    values=values,
    margins=MARGINS,
  )
  gap = values[:, 0] - values[:, 1]
  want = -np.log(1 / (1 + np.exp(-(gap - MARGINS))))
  np.testing.assert_allclose(found.values, want, rtol=1e-12)
  assert found.metrics["rewards/margins"].tolist() == gap.tolist()
  accuracies = found.metrics["rewards/accuracies"]
  assert accuracies.tolist() == [1.0, 0.0, 1.0, 0.0]
