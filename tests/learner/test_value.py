"""Which value function is taken, and what its network is."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import losses, models
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig, forward, value
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.training.metrics import finish
from tests.helpers import worlds

ENCODER = ValueConfig("encoder")


def t5():
  return models.make(
    "t5(width=8, layers=1, heads=2, head_dim=4)", vocab_size=worlds.X
  )


def batch():
  """Prompts of one to four tokens."""
  rng = np.random.default_rng(0)
  rows = worlds.batch("dro_v")
  shape = (len(rows.weight), 4)
  return dataclasses.replace(
    rows,
    prompts=rng.integers(0, worlds.X, shape).astype(np.int32),
    prompt_mask=np.arange(4) < rng.integers(1, 5, (shape[0], 1)),
  )


def learner(model, config=ENCODER, **options):
  optimizer = OptimizerConfig(learning_rate=0.01, warmup_steps=0)
  config = LearnerConfig(value=config, optimizer=optimizer, **options)
  return Learner("dro_v", model, config)


@pytest.mark.parametrize("per", ["token", "completion"])
@pytest.mark.parametrize("loss", ["dro_v", "bradley_terry", "ppo"])
def test_an_encoder_reads_no_completion(loss, per):
  with pytest.raises(UserError, match=r"'encoder' (reads )?the prompt alone"):
    value.choose(ValueConfig("encoder", per), losses.get(loss))


@pytest.mark.parametrize(
  ("loss", "per"), [("bradley_terry", "completion"), ("ppo", "token")]
)
def test_an_encoder_is_no_network_of_a_loss_on_completions(loss, per):
  """Which the sentence says first, whatever `per` is left at."""
  said = f"reads the prompt alone: .*'shared', with value.per={per}"
  with pytest.raises(UserError, match=said):
    value.choose(ValueConfig("encoder"), losses.get(loss))


@pytest.mark.parametrize(
  ("loss", "per"), [("bradley_terry", "completion"), ("ppo", "token")]
)
def test_who_names_the_network_alone_is_told_the_value_that_fits(loss, per):
  with pytest.raises(UserError, match=f"give value.per={per}"):
    value.choose(ValueConfig("shared"), losses.get(loss))
  assert value.choose(ValueConfig("shared", per), losses.get(loss)).per == per


def test_a_model_without_an_encoder_is_refused():
  model = models.make("decoder(width=8, heads=2)", vocab_size=worlds.X)
  with pytest.raises(UserError, match=r"decoder.* has no encoder"):
    learner(model)


def test_an_encoder_starts_from_the_policys_and_learns():
  model = t5()
  policy = jax.jit(model.init)(jax.random.key(0))
  made = learner(model)
  state = made.init(policy)
  trunk = jax.device_get(state.params["value"]["trunk"])
  assert set(trunk) == {"embedding", "encoder"}
  chex.assert_trees_all_equal(
    trunk, jax.device_get(model.encoder.params(policy))
  )
  rows = batch()
  for _ in range(3):
    state, metrics = made.train_step(state, rows)
  after = jax.device_get(state.params["value"]["trunk"])
  for old, new in zip(
    jax.tree.leaves(trunk), jax.tree.leaves(after), strict=True
  ):
    assert not np.array_equal(old, new)
  assert np.isfinite(finish(metrics)["loss"])


@pytest.mark.parametrize("per", ["example", "batch"])
def test_microbatches_change_nothing(per):
  model = t5()
  policy = jax.jit(model.init)(jax.random.key(0))

  def after(microbatches):
    made = learner(
      model, ValueConfig("encoder", per), microbatches=microbatches
    )
    state = made.init(policy)
    for _ in range(3):
      state, metrics = made.train_step(state, batch())
    return jax.device_get(state.params), finish(metrics)

  chex.assert_trees_all_close(after(1), after(4), rtol=2e-5, atol=2e-6)


def test_the_gradient_of_an_encoder_is_that_of_the_whole_network():
  """Both networks agree where the encoder is all that V depends on."""
  model = t5()
  params = jax.jit(model.init)(jax.random.key(0))
  rows = batch()
  head = {"kernel": jnp.arange(8.0), "bias": jnp.zeros(())}

  def v(trunk):
    own = {"trunk": trunk, "head": head}
    return value.values(ENCODER, model, own, rows, None).sum()

  part, whole = jax.jit(
    lambda params: (
      jax.grad(v)(model.encoder.params(params)),
      jax.grad(v)(params),
    )
  )(params)
  chex.assert_trees_all_close(part, model.encoder.params(whole))
  rest = {k: x for k, x in whole.items() if k not in part}
  assert rest
  assert not any(np.any(x) for x in jax.tree.leaves(rest))


def test_packed_rows_that_an_encoder_cannot_run_are_refused():
  model = t5()
  alone = dataclasses.replace(model.encoder, state_packed=None)
  rows = dataclasses.replace(batch(), packed=object())
  with pytest.raises(UserError, match="encoder cannot run packed batches"):
    forward.encoder_state(alone, {}, rows)
