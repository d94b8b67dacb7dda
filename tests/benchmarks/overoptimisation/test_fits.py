"""Peaks and fitted forms of curves whose truth is known."""

import numpy as np
import pytest

from benchmarks.overoptimisation import fits
from benchmarks.overoptimisation.points import FOLDS, Point

KL = np.array([0.0, 0.25, 1.0, 2.25, 4.0])
D = np.sqrt(KL)


def points(gold, noise=0.01, seeds=5, label="line"):
  """A point for each seed and strength, with noise on each fold."""
  rng = np.random.default_rng(0)
  made = []
  for seed in range(seeds):
    for i, (kl, value) in enumerate(zip(KL, gold, strict=True)):
      folds = value + noise * rng.normal(size=FOLDS)
      made.append(
        Point(
          label=label,
          method="best of n",
          proxy=label,
          seed=seed,
          strength=i + 1,
          kl=float(kl),
          kl_ties=None,
          gold=float(folds.mean()),
          proxy_gain=float(kl),
          folds=folds.tolist(),
          seconds=0.0,
        )
      )
  return made


def test_both_forms_are_found_again():
  found = fits.fit(KL, D * (0.8 - 0.3 * D), fits.BEST_OF_FORM)
  assert (found.alpha, found.beta) == (pytest.approx(0.8), pytest.approx(0.3))
  assert found.residual == pytest.approx(0, abs=1e-12)
  assert found.peak == pytest.approx((0.8 / 0.6) ** 2)
  rl = D * (0.8 - 0.3 * np.log(np.maximum(D, 1e-9)))
  found = fits.fit(KL, rl, fits.RL_FORM)
  assert (found.alpha, found.beta) == (pytest.approx(0.8), pytest.approx(0.3))
  assert found.peak == pytest.approx(np.exp(2 * (0.8 / 0.3 - 1)))
  assert fits.fit(KL, D, fits.BEST_OF_FORM).peak > 1e6


def test_a_peak_is_seen_with_its_interval():
  found = fits.peak(fits.curve(points(D * (1 - 0.5 * D))))
  assert found.seen
  assert (found.strength, found.kl) == (3, 1.0)
  assert found.low == found.high == 1.0
  assert found.fall_low < 0.5 < found.fall_high
  assert found.fall_low > 0.4


@pytest.mark.parametrize(
  ("gold", "noise"), [(D, 0.01), (D * (1 - 0.5 * D), 9.0), (0 * D, 0.01)]
)
def test_no_peak_is_seen_where_gold_rises_or_noise_hides_it(gold, noise):
  assert not fits.peak(fits.curve(points(gold, noise))).seen


def test_a_seed_without_all_strengths_is_left_out():
  made = points(D)
  assert len(fits.curve(made[:-1]).folds) == 4
  with pytest.raises(ValueError, match="no seed"):
    fits.curve([made[0], made[6]])


def test_differences_are_paired():
  noisy = points(D, noise=1.0)
  shifted = points(D + 0.1, noise=1.0)
  found = fits.difference(fits.curve(shifted), fits.curve(noisy), 3)
  assert found.mean == pytest.approx(0.1)
  assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
  assert found.is_sure
