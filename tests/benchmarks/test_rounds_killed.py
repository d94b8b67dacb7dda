"""The comparison of a run that was killed with one that was not."""

import time

import numpy as np

from benchmarks import rounds_killed


def test_what_differs_is_named_and_what_is_missing_too():
  a = {"x": b"1", "y": b"2"}
  assert rounds_killed.differences(a, dict(a)) == []
  assert rounds_killed.differences(a, {"x": b"0", "z": b"2"}) == ["x", "y", "z"]


def test_arrays_are_compared_without_the_times_of_their_file(tmp_path):
  paths = [tmp_path / name for name in ("a.npz", "b.npz", "c.npz")]
  for path, last in zip(paths, (2, 2, 3), strict=True):
    np.savez(path, tokens=np.array([1, last]))
    time.sleep(0.01)
  a, b, c = map(rounds_killed.arrays, paths)
  assert a == b != c


def test_a_kill_at_a_border_waits_for_a_round_to_be_made(tmp_path):
  class First:
    def random(self):
      return 0.9

    def uniform(self, low, high):
      return low

  (tmp_path / "rounds" / "1").mkdir(parents=True)
  name, due = rounds_killed.instant(tmp_path, 1.0, First())
  assert name == "at a border"
  assert not due()
  (tmp_path / "rounds" / "2.part").mkdir()
  due()
  time.sleep(0.001)
  assert due()
