"""Leakage: prompts that a test set shares with the training data."""

import numpy as np

from offalign.audit.checks.duplicates import Firsts, Name
from offalign.audit.findings import Finding, percent
from offalign.audit.scan.entries import Spill, meet


class Leakage:
  """Prompts of a test set that are in the training set.

  Attributes:
    prompts: distinct prompts of the test set.
    leaked: test prompts that the training data has too, exactly.
    loosely: further test prompts that differ from a training prompt by case
      and white space alone.
    answers: completions of the test set that training has for that prompt.
  """

  def __init__(self, train: Spill, test: Spill):
    """Compares the entries of the two data sets."""
    self.prompts = self.answers = 0
    self.leaked, self.loosely = Firsts(), Firsts()
    for one, other in meet(train, test):
      self._add(
        one[np.argsort(one["row"], kind="stable")],
        other[np.argsort(other["row"], kind="stable")],
      )

  def _add(self, train: np.ndarray, test: np.ndarray) -> None:
    """Compares one part of both, each in the order of the data."""
    _, first = np.unique(test["prompt"], return_index=True)
    asked = test[first]
    self.prompts += len(asked)
    if not len(train) or not len(asked):
      return
    exact = np.isin(asked["prompt"], train["prompt"])
    near = np.isin(asked["loose"], train["loose"]) & ~exact
    for found, firsts, key in (
      (asked[exact], self.leaked, "prompt"),
      (asked[near], self.loosely, "loose"),
    ):
      keys, at = np.unique(train[key], return_index=True)
      where = at[np.searchsorted(keys, found[key])]
      firsts.add(found["row"], train["row"][where])
    self.answers += int(np.isin(_joint(test), _joint(train)).sum())

  def findings(self, test_name: Name, name: Name) -> list[Finding]:
    """Returns a finding for each kind of leakage that occurs."""
    of = f"of the test set's {self.prompts:,}"
    names = (test_name, name)
    share = percent(self.leaked.count, self.prompts)
    return [
      *self.leaked.finding(
        "warning",
        "leakage",
        f"prompt|{of} ({share}) that the training data has too, and "
        f"{self.answers:,} completions with them",
        "is in training as",
        "take them out of one side, or the evaluation measures memory",
        names,
      ),
      *self.loosely.finding(
        "warning",
        "near_leakage",
        f"prompt|{of} that the training data has but for case and white space",
        "is in training as",
        "take them out of one side",
        names,
      ),
    ]


def _joint(part: np.ndarray) -> np.ndarray:
  """Hashes prompt and completion into one number, [N]."""
  return part["prompt"] * np.uint64(0x9E3779B97F4A7C15) + part["text"]
