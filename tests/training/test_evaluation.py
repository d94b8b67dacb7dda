"""Reward accuracy: the share of held-out pairs that a policy ranks rightly."""

import numpy as np
import pytest
from mean_id import Scorer, attach, expected, pairs

from offalign import losses
from offalign.reference.store import Store
from offalign.training.evaluation import reward_accuracy


@pytest.fixture
def scorer(monkeypatch):
  return Scorer(monkeypatch)


def test_accuracy_counts_pairs_and_halves_of_ties(tmp_path, scorer):
  rows = attach(pairs(), Store(tmp_path / "r", "me"), scorer)
  same = reward_accuracy(scorer, 1.0, rows, batch_size=3)
  assert same == {
    "rewards/chosen": 0.0,
    "rewards/rejected": 0.0,
    "rewards/margins": 0.0,
    "rewards/accuracies": 0.5,
  }
  # Twice the weight: log-ratios are the log-probs, longer ones lower.
  moved = reward_accuracy(scorer, 2.0, rows, batch_size=3)
  logps = expected(rows)
  assert moved["rewards/accuracies"] == 1.0
  assert moved["rewards/chosen"] == pytest.approx(0.1 * logps[:, 0].mean())
  assert moved["rewards/margins"] == pytest.approx(
    0.1 * (logps[:, 0] - logps[:, 1]).mean()
  )
  tie = rows.take(np.array([0, 1]))
  tie.completion_index[1, 1] = tie.completion_index[1, 0]
  tie.ref_logps[1, 1] = tie.ref_logps[1, 0]
  mixed = reward_accuracy(scorer, 2.0, tie, batch_size=3)
  assert mixed["rewards/accuracies"] == 0.75


def test_accuracy_uses_the_reward_of_the_loss(tmp_path, scorer):
  rows = attach(pairs(), Store(tmp_path / "r", "me"), scorer)
  scorer.loss = losses.get("simpo(beta=2.0)")
  found = reward_accuracy(scorer, 1.0, rows, batch_size=3)
  lengths = np.array([[2, 3]] * 4)  # a letter, perhaps a mark, and EOS
  chosen, rejected = (2.0 * expected(rows) / lengths).mean(0)
  assert found["rewards/chosen"] == pytest.approx(chosen)
  assert found["rewards/rejected"] == pytest.approx(rejected)
