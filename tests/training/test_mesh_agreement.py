"""What is trained does not depend on how the devices are arranged.

Both families, for one loss of each kind of feedback and set of needs: single
completions on every kind of mesh, the others on the one that has all axes.
Compilation is nearly all of the time, so the losses of one kind are one
program, which takes the number of the loss as an input.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from families import FAMILIES, V, rows, weights

from offalign import losses, models
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.losses import registry
from offalign.losses.base import Definition
from offalign.training.metrics import finish
from offalign.types import BY_TOKEN, Kind

pytestmark = pytest.mark.slow

ALL_AXES = (2, 2, 2)
CASES = [(ALL_AXES, kind) for kind in Kind] + [
  (shape, Kind.SINGLE) for shape in ((8, 1, 1), (2, 4, 1))
]
STEPS = 12  # more, and rounding grows to the tolerances
CONFIG = LearnerConfig(
  optimizer=OptimizerConfig(learning_rate=0.003, warmup_steps=0, clip_norm=0)
)


@pytest.fixture(scope="module", autouse=True)
def _all_split():
  """Leaves of any size are split."""
  patch = pytest.MonkeyPatch()
  patch.setattr(sharding, "SMALL", 1)
  yield
  patch.undo()


@functools.cache
def of_kind(kind):
  """One loss of each set of needs.

  Those that remember something, that train rewards and that read tokens are
  not: they make other programs, and `test_loss_state` and
  `test_token_columns` have them on several devices.
  """
  cases = [losses.get(spec) for spec in worlds.one_of_each_kind_and_needs()]
  return [
    loss
    for loss in cases
    if loss.kind is kind
    and not loss.has_state
    and not loss.trains_rewards
    and not set(BY_TOKEN) & set(loss.needs)
  ]


def one_of(kind, which):
  """Defines a loss: that of `of_kind` whose number, `which`, may be traced."""
  members = of_kind(kind)

  def fn(scores):
    return jnp.stack([member(scores).values for member in members])[which]

  needs = {need for member in members for need in member.needs}
  return Definition(
    name="one_of",
    fn=fn,
    kind=kind,
    needs=tuple(sorted(needs)),
    whole_batch=False,
    scale=lambda _: 1.0,
    average=False,
    positive=(),
    check=None,
    pushes=None,
    on_pairs=None,
    rewards=False,
    state=None,
    paper="-",
    formula="-",
    when="-",
  )


def train(family, kind, mesh):
  """For each loss of a kind: losses by step, first gradient, last params.

  The gradient is read from Adam's first moment after one step.
  """
  model = models.make(FAMILIES[family], vocab_size=V)

  def learner(which):
    registry._definitions["one_of"] = one_of(kind, which)
    try:
      return Learner("one_of", model, CONFIG, mesh)
    finally:
      del registry._definitions["one_of"]

  @jax.jit
  def step(which, *args):
    return learner(which).train_step(*args)

  policy, ref = (
    jax.device_put(x, sharding.state_shardings(mesh, x, model.splits))
    for x in weights(family)
  )
  if not learner(0).needs_reference_weights:
    ref = None
  batch = sharding.put_batch(mesh, rows(kind))
  out = {}
  for which, loss in enumerate(of_kind(kind)):
    state = learner(0).init(policy)
    by_step = []
    for i in range(STEPS):
      state, metrics = step(which, state, batch, ref)
      by_step.append(finish(metrics)["loss"])
      if i == 0:
        moments = jax.device_get(state.opt_state)
    gradient = {name: s[0].mu for name, s in moments.items()}
    out[str(loss)] = by_step, gradient, jax.device_get(state.params)
  assert step._cache_size() == 1
  return out


@functools.cache
def on_one_device(family, kind):
  return train(family, kind, sharding.one_device())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
  ("shape", "kind"),
  CASES,
  ids=[f"{'x'.join(map(str, s))}-{kind.name.lower()}" for s, kind in CASES],
)
def test_the_mesh_changes_nothing(shape, family, kind, capfd):
  found = train(family, kind, sharding.make_mesh(MeshConfig(*shape)))
  # XLA says so where it has to make an array whole to split it otherwise.
  assert "Involuntary" not in capfd.readouterr().err
  for name, (by_step, gradient, params) in on_one_device(family, kind).items():
    same = functools.partial(np.testing.assert_allclose, err_msg=name)
    same(found[name][0], by_step, rtol=1e-5)
    assert np.abs(np.diff(by_step)).max() > 1e-3  # it learns something
    scale = max(np.abs(g).max() for g in jax.tree.leaves(gradient))
    jax.tree.map(
      functools.partial(same, rtol=1e-4, atol=1e-6 * scale),
      found[name][1],
      gradient,
    )
    jax.tree.map(
      functools.partial(same, rtol=1e-3, atol=1e-4), found[name][2], params
    )
