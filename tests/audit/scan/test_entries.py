import numpy as np

from offalign.audit.scan import entries


def test_runs():
  starts, sizes = entries.runs(np.array([1, 1, 2, 2]), np.array([0, 0, 0, 1]))
  assert starts.tolist() == [0, 2, 3]
  assert sizes.tolist() == [2, 1, 1]
