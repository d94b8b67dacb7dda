"""The search finds the fastest plan that fits, and says why not the others."""

import itertools

import pytest

from offalign.distributed.sharding import MeshConfig
from offalign.planning import fit
from offalign.planning.analysis import Bound, Figures, Memory
from offalign.planning.fit import Candidate, Guess

COSTS = {"none": 1.0, "dots": 1.1, "block": 1.33}
KEEPS = {"none": 1.0, "dots": 0.6, "block": 0.1}
MESHES = [MeshConfig(16 // n, n, 1) for n in (1, 2, 4, 8, 16)]
ALL = [
  Candidate(mesh, cut, remat)
  for mesh, cut, remat in itertools.product(MESHES, (1, 2, 4), fit.REMATS)
]


class World:
  """Chips for which every program takes what a formula says."""

  def __init__(self, state, activations, network=0.2, hbm=16):
    self.state, self.activations = state, activations
    self.network, self.hbm = network, hbm
    self.compiled = []

  def guess(self, each):
    kept = self.state / each.mesh.fsdp
    sent = self.network * each.microbatches
    return Guess(kept, COSTS[each.remat], sent, kept <= self.hbm / 4)

  def figures(self, each):
    kept = self.state / each.mesh.fsdp
    total = kept + self.activations * KEEPS[each.remat] / each.microbatches
    fits = total <= self.hbm
    network = self.network * each.microbatches * (1 + each.mesh.fsdp / 100)
    return Figures(
      fits=fits,
      reason="" if fits else f"{total:g} of {self.hbm:g}",
      memory=Memory(1, 0, 1, 1, total=total if fits else None),
      hbm=self.hbm,
      flops=1.0,
      device_flops=1.0,
      collectives={},
      bound=Bound(COSTS[each.remat], 0.0, network if fits else 0.0),
      compile_seconds=0.0,
    )

  def compile(self, each):
    self.compiled.append(each)
    return self.figures(each)

  def search(self, most=12):
    return fit.search(ALL, self.guess, self.compile, self.hbm, most)


@pytest.mark.parametrize(
  ("state", "activations", "network"),
  [
    (4, 8, 0.2),  # anything fits
    (60, 8, 0.2),
    (60, 22, 0.2),  # dots, or two microbatches
    (60, 22, 0.9),  # the network makes microbatches dear
    (60, 100, 0.2),
    (200, 100, 2.0),  # bound by the links
    (200, 7, 0.2),  # only if split over all
  ],
)
def test_the_best_is_what_trying_all_would_find(state, activations, network):
  world = World(state, activations, network)
  best, *_ = world.search()
  everything = [world.figures(each) for each in ALL]
  fastest = min(x.bound.seconds for x in everything if x.fits)
  assert best.figures.fits
  assert best.figures.bound.seconds <= fastest * fit.CLOSE
  assert len(world.compiled) <= 12
  # What is larger than a chip by itself is never compiled.
  assert all(state / x.mesh.fsdp <= 16 for x in world.compiled)


def test_everything_has_a_reason_and_the_table_says_it():
  world = World(60, 22)
  found = world.search()
  assert sorted(map(fit.spell, ALL)) == sorted(
    fit.spell(tried.candidate) for tried in found
  )
  assert all(bool(x.why) != (x.figures and x.figures.fits) for x in found)
  table = fit.table(found, 12)
  assert "weights and moments alone take" in table
  assert "does not fit" in table
  assert f"{len(world.compiled)} compiled. Not tried: more than 12" in table
  assert fit.spell(found[0].candidate) in table.splitlines()[2]


def test_the_search_stops_at_its_limit_and_where_nothing_fits():
  world = World(60, 22)
  found = world.search(most=1)
  assert len(world.compiled) == 1
  assert any(x.why == "not compiled: 1 have been" for x in found)
  world = World(1000, 0)
  found = world.search()
  assert not world.compiled
  assert "nothing fits" in fit.table(found, 12)
  world = World(60, 2000)
  assert not any(x.figures and x.figures.fits for x in world.search())
