import math

import pytest
import sweeps

from offalign.compare import grid
from offalign.compare.spread import Spread


def made(sweep, texts=None, **options):
  found, entries = sweeps.judged(sweep, texts)
  kl = dict.fromkeys(entries, 1.5)
  return grid.make(sweep, entries, found, kl, sampled=True, **options)


def test_win_rates_fill_the_grid_by_option_and_seed():
  found = made(sweeps.sweep())
  assert found.measure == grid.WIN
  assert found.seeds == [0, 1]
  assert [one.label for one in found.options] == ["tau=0.3", "tau=1"]
  first = found.options[0]
  assert [slot.values[grid.WIN] for slot in first.slots] == [1.0, 1.0]
  assert first.spreads[grid.WIN].mean == 1.0
  assert first.spreads[grid.WIN].high <= 1.0
  assert first.kl == 1.5


def test_the_mean_is_over_seeds_and_the_better_option_is_named():
  sweep = sweeps.sweep()
  bad = ["", "b", "", ""]
  texts = {
    name: bad if name.startswith("tau=1") else sweeps.GOOD
    for name in sweep.cells
  }
  found = made(sweep, texts)
  assert found.options[1].spreads[grid.WIN].mean == pytest.approx(0.125)
  assert found.best == "tau=0.3"
  assert found.verdict().startswith("tau=0.3 is best by win rate, 1")


def test_options_that_are_alike_are_not_told_apart():
  found = made(sweeps.sweep())
  assert found.best is None
  assert found.verdict().startswith("The options are not told apart by win")


def test_a_failed_cell_stays_in_its_place():
  sweep = sweeps.sweep()
  name = "tau=1_seed=1"
  sweep.cells[name] = sweep.cells[name].__class__(
    "tau=1", 1, {}, "diverged", "step 3: it diverges"
  )
  texts = {x: sweeps.GOOD for x in sweep.cells if x != name}
  found = made(sweep, texts)
  assert [slot.name for slot in found.failed] == [name]
  assert found.options[1].spreads[grid.WIN].seeds == 1


def unjudged(sweep):
  _, entries = sweeps.judged(sweep)
  entries = {
    name: entry.__class__(
      **{**entry.__dict__, "duel": None, "scores": (), "score": None}
    )
    for name, entry in entries.items()
  }
  return grid.make(sweep, entries, None, {}, sampled=False)


def test_without_a_judge_held_out_figures_are_compared():
  found = unjudged(sweeps.sweep(measure=sweeps.accuracy()))
  assert found.measure == grid.ACCURACY
  assert found.options[0].spreads[grid.ACCURACY].mean == 0.75
  assert found.best is None


def test_losses_of_different_kinds_are_not_compared():
  found = unjudged(sweeps.sweep())
  assert found.measure == grid.LOSS
  assert not found.comparable
  assert "their values" not in found.verdict()
  assert "whose values do not compare" in found.verdict()
  found = unjudged(sweeps.sweep(loss="dpo"))
  assert found.verdict() == ""  # one option


def test_a_sweep_of_seeds_alone_has_one_row():
  found = made(sweeps.sweep(loss="dpo", seeds=3))
  assert [one.label for one in found.options] == ["all"]
  assert found.verdict() == ""


def test_a_mean_is_written_with_its_interval():
  assert grid.text(Spread(0.5, 0.25, 0.75, 2)) == "0.5 [0.25, 0.75]"
  assert grid.text(Spread(0.5, math.nan, math.nan, 1)) == "0.5"
