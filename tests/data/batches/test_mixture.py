"""Mixtures: exact proportions, no row twice before all, no state."""

import collections

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from offalign.data import Mixture, MixtureSampler
from offalign.data.batches import mixture
from offalign.errors import UserError

weights = st.lists(st.floats(0.05, 20.0), min_size=2, max_size=5)


@hypothesis.given(weights, st.integers(1, 500))
def test_quotas_are_less_than_one_off_and_add_up(weights, n):
  found = mixture.quotas(weights, n)
  assert sum(found) == n
  for quota, weight in zip(found, weights, strict=True):
    assert abs(quota - n * weight / sum(weights)) < 1 + 1e-9


@st.composite
def samplers(draw):
  given = draw(weights)
  sizes = draw(
    st.lists(st.integers(1, 30), min_size=len(given), max_size=len(given))
  )
  of_row = np.array(
    draw(st.permutations(np.repeat(np.arange(len(sizes)), sizes).tolist()))
  )
  names = tuple("abcde"[: len(sizes)])
  try:
    made = Mixture(names, tuple(given), of_row)
  except UserError as error:
    assert "so small a weight" in str(error)  # noqa: PT017
    hypothesis.reject()
  n = len(of_row)
  size = draw(st.integers(1, n))
  return MixtureSampler(n, size, draw(st.integers(0, 5)), made)


@hypothesis.given(samplers())
@hypothesis.settings(max_examples=60)
def test_an_epoch_has_the_quotas_and_each_source_goes_round(sampler):
  made, n = sampler.mixture, sampler.n
  steps = -(-3 * n // sampler.batch_size)
  drawn = np.concatenate([sampler.indices(t) for t in range(steps)])[: 3 * n]
  k = len(made.names)
  for epoch in range(3):
    sources = made.of_row[drawn[epoch * n : (epoch + 1) * n]]
    assert tuple(np.bincount(sources, minlength=k)) == made.quotas
    # All through the epoch, too.
    for place in range(n):
      counts = np.bincount(sources[:place], minlength=k)
      exact = place * np.array(made.quotas) / n
      assert np.all(np.abs(counts - exact) <= k)
  for s, rows in enumerate(made.members):
    mine = drawn[made.of_row[drawn] == s]
    for turn in range(len(mine) // len(rows)):
      once = mine[turn * len(rows) : (turn + 1) * len(rows)]
      assert sorted(once) == sorted(rows)
  # Any step is found without those before it.
  again = MixtureSampler(n, sampler.batch_size, sampler.seed, made)
  last = (steps - 1) * sampler.batch_size
  np.testing.assert_array_equal(
    again.indices(steps - 1)[: 3 * n - last], drawn[last:]
  )


def test_seeds_epochs_and_sources_have_orders_of_their_own():
  made = Mixture(("a", "b"), (1.0, 1.0), np.repeat([0, 1], 20))
  orders = {
    tuple(MixtureSampler(40, 40, seed, made).indices(step))
    for seed in range(3)
    for step in range(3)
  }
  assert len(orders) == 9
  first = MixtureSampler(40, 40, 0, made).indices(0)
  a, b = (first[made.of_row[first] == s] for s in (0, 1))
  assert list(a) != list(b - 20)
  # Not a fixed pattern of sources: KTO mismatches neighbours.
  after = collections.Counter(np.diff(made.of_row[first]).tolist())
  assert after[0] > 0


def test_what_is_said_of_a_mixture():
  made = Mixture(("a", "b"), (3.0, 1.0), np.repeat([0, 1], [2, 6]))
  assert made.describe() == [
    "a: 6 of 8 draws an epoch (75.0%), each of its 2 rows 3 times",
    "b: 2 of 8 draws an epoch (25.0%), each of its 6 rows 0.333 times",
  ]
  assert made.row_weights.tolist() == [3.0, 3.0] + [2 / 6] * 6
  parts = MixtureSampler(8, 4, 0, made).parts(np.array([0, 7]))
  assert {k: v.tolist() for k, v in parts.items()} == {
    "a": [True, False],
    "b": [False, True],
  }


def test_a_source_that_is_never_drawn_is_refused():
  with pytest.raises(UserError, match="'b' has so small a weight that an epo"):
    Mixture(("a", "b"), (1.0, 0.01), np.repeat([0, 1], 4))
  with pytest.raises(UserError, match="'b' has no row to draw"):
    Mixture(("a", "b"), (1.0, 1.0), np.zeros(4, int))


@pytest.fixture
def here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("a.jsonl", "b.jsonl", "c:0.5.jsonl", "a:1.jsonl"):
    (tmp_path / name).write_text("{}\n")
  (tmp_path / "d").mkdir()
  (tmp_path / "d" / "e.jsonl").write_text("{}\n")


@pytest.mark.usefixtures("here")
def test_paths_with_weights():
  parse = mixture.parse
  assert parse("a.jsonl:0.7, b.jsonl:0.3") == (
    ("a.jsonl", 0.7),
    ("b.jsonl", 0.3),
  )
  assert parse("org/name:train:2,d:1,a.jsonl:1") == (
    ("org/name:train", 2.0),
    ("d", 1.0),
    ("a.jsonl", 1.0),
  )
  for plain in ("a.jsonl", "a.jsonl,b.jsonl", "org/name:train", "a:1.jsonl"):
    assert parse(plain) == ()
  many = [f"{i:03}.jsonl" for i in range(50)]  # no file's name is that long
  assert parse(",".join(many)) == ()
  with pytest.raises(UserError, match=r"no file or folder '000.jsonl'"):
    parse(",".join(f"{name}:1" for name in many))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
  ("path", "what"),
  [
    ("a.jsonl:0,b.jsonl:1", "'a.jsonl' has the weight 0, which must be above"),
    ("a.jsonl:-1,b.jsonl:1", "weight -1, which"),
    ("a.jsonl:nan,b.jsonl:1", "weight nan, which"),
    ("a.jsonl:inf,b.jsonl:1", "weight inf, which"),
    ("a.jsonl:0.5,b.jsonl", "'b.jsonl' has no weight, but others"),
    ("a.jsonl:0.5", "is one source with a weight"),
    ("a.jsonl:1,./a.jsonl:1", "is in two sources, 'a.jsonl' and './a.jsonl'"),
    ("d:1,d/*.jsonl:1", "is in two sources"),
    ("org/name:1,org/name:2", "org/name is in two sources"),
    ("nosuch.jsonl:1,a.jsonl:1", "there is no file or folder 'nosuch.jsonl'"),
  ],
)
def test_mixtures_that_are_refused(path, what):
  with pytest.raises(UserError, match=what):
    mixture.parse(path)
