"""Each contract catches a loss that is broken in its way."""

import jax
import jax.numpy as jnp
import pytest

from offalign import losses
from offalign.testing import CONTRACTS, check_loss
from offalign.types import Kind, LossOutput

LEAST = {
  "kind": Kind.PAIR,
  "needs": ("ref_logps",),
  "paper": "none",
  "when": "never",
  "formula": "none",
}


@pytest.fixture
def register(own_registry):
  """Registers a loss for one test, with the least of declarations."""

  def register(name, fn, **declared):
    declared = {**LEAST, **declared}
    losses.register(name, **declared)(fn)

  return register


def margin(scores):
  return scores.log_ratios[:, 0] - scores.log_ratios[:, 1]


def sound(scores, *, beta: float = 0.1):
  return jax.nn.softplus(-beta * margin(scores))


def reduced(scores):
  return sound(scores).mean()


def reduced_and_broadcast(scores):
  return jnp.broadcast_to(sound(scores).mean(), scores.logps.shape[:1])


def divided_by_batch(scores):
  return sound(scores) / scores.logps.shape[0]


def column_instead_of_row(scores):
  return sound(scores)[:, None]


def low_precision(scores):
  return sound(scores).astype(jnp.bfloat16)


def reduced_metric(scores):
  z = margin(scores)
  return LossOutput(jax.nn.softplus(-z), {"margin": z.mean()})


def own_batch_mean(scores):
  above = scores.rewards > scores.rewards.mean()
  return jax.nn.softplus(-jnp.where(above, 1.0, -1.0) * scores.log_ratios)[:, 0]


def first_row_counts_more(scores):
  return sound(scores) * (1.0 + (jnp.arange(scores.logps.shape[0]) == 0))


def ignores_reference(scores):
  return jax.nn.softplus(-(scores.logps[:, 0] - scores.logps[:, 1]))


def ignores_value(scores):
  return jnp.square(scores.rewards - scores.log_ratios).mean(axis=1)


def never_trains_value(scores):
  value = jax.lax.stop_gradient(scores.values)
  delta = scores.rewards - value - scores.log_ratios
  return jnp.square(delta).mean(axis=1)


def ignores_option(scores, *, beta: float = 0.1, label_smoothing: float = 0.0):
  return sound(scores, beta=beta)


def reads_rewards(scores):
  return sound(scores) * scores.rewards[:, 0]


def wrong_sign(scores):
  return jax.nn.softplus(margin(scores))


def lowers_both(scores):
  return jax.nn.softplus(scores.log_ratios).sum(axis=1)


def moves_value_away(scores):
  value = 2 * jax.lax.stop_gradient(scores.values) - scores.values
  delta = scores.rewards - value - scores.log_ratios
  return jnp.square(delta).mean(axis=1)


def value_not_stopped(scores):
  """A policy gradient whose baseline is part of what is differentiated."""
  advantage = scores.rewards - scores.values
  policy = -(advantage - scores.log_ratios) * scores.logps
  return (policy + 0.5 * jnp.square(advantage)).mean(axis=1)


def advantage_over_batch(scores):
  """The statistics of a microbatch, where those of the batch are meant."""
  r = scores.rewards
  advantage = (r - r.mean()) / (r.std() + 1e-4) - scores.log_ratios
  return -(jax.lax.stop_gradient(advantage) * scores.logps).mean(axis=1)


def naive_log_sigmoid(scores):
  return -jnp.log(jax.nn.sigmoid(margin(scores)))


def naive_exponential(scores):
  return jnp.exp(-margin(scores))


def naive_log1mexp(scores):
  mean = scores.logps / jnp.maximum(scores.lengths, 1)
  odds = mean - jnp.log1p(-jnp.exp(mean))
  return jax.nn.softplus(-(odds[:, 0] - odds[:, 1]))


def nan_gradient_at_zero(scores):
  z = margin(scores)
  return jax.nn.softplus(-z) + jnp.where(z > 1, jnp.sqrt(z - 1), 0.0)


def divides_by_no_tokens(scores):
  mean = scores.logps / scores.lengths
  return jax.nn.softplus(-(mean[:, 0] - mean[:, 1]))


def sums_behind_the_end(scores):
  rho = (scores.token_logps - scores.ref_token_logps).sum(axis=-1)
  return jax.nn.softplus(-(rho[:, 0] - rho[:, 1]))


def cancels(scores):
  """DRO's surrogate with the constant taken off last."""
  delta = jax.lax.stop_gradient(margin(scores) - 1.0)
  linear = delta * (scores.logps[:, 0] - 3.0 * scores.logps[:, 1])
  return 0.5 * delta**2 + linear - jax.lax.stop_gradient(linear)


def branches_on_a_value(scores):
  z = margin(scores)
  return jax.nn.softplus(-z) if z.sum() > 0 else jax.nn.softplus(-z) * 2.0


REWARDED = {"kind": Kind.SINGLE, "needs": ("ref_logps", "rewards")}
VALUED = {"kind": Kind.SINGLE, "needs": ("ref_logps", "rewards", "values")}
LENGTHS = {"needs": ("lengths",)}
TOKENS = {"needs": ("token_logps", "ref_token_logps")}

BROKEN = [
  (reduced, "shape", {}),
  (column_instead_of_row, "shape", {}),
  (low_precision, "shape", {}),
  (reduced_metric, "shape", {}),
  (reduced_and_broadcast, "unreduced", {}),
  (divided_by_batch, "unreduced", {}),
  (own_batch_mean, "unreduced", REWARDED),
  (advantage_over_batch, "unreduced", REWARDED),
  (first_row_counts_more, "permutation", {}),
  (ignores_reference, "declared", {}),
  (ignores_value, "declared", VALUED),
  (never_trains_value, "declared", VALUED),
  (ignores_option, "options", {}),
  (reads_rewards, "undeclared", {}),
  (wrong_sign, "direction", {}),
  (lowers_both, "direction", {}),
  (moves_value_away, "direction", VALUED),
  (value_not_stopped, "direction", VALUED),
  (naive_log_sigmoid, "extremes", {}),
  (naive_exponential, "extremes", {}),
  (naive_log1mexp, "extremes", LENGTHS),
  (nan_gradient_at_zero, "extremes", {}),
  (divides_by_no_tokens, "padding", LENGTHS),
  (sums_behind_the_end, "behind", TOKENS),
  (cancels, "precision", {}),
  (branches_on_a_value, "jit", {}),
  (sound, "spec", {"scale": lambda options: 0.0}),
  (sound, "words", {"when": " "}),
]


@pytest.mark.parametrize(
  ("fn", "contract", "declared"),
  BROKEN,
  ids=[f"{fn.__name__}-{contract}" for fn, contract, _ in BROKEN],
)
def test_broken_loss_is_caught(register, fn, contract, declared):
  register("broken", fn, **declared)
  with pytest.raises(
    AssertionError, match=f"^loss 'broken' breaks the contract '{contract}': "
  ):
    check_loss("broken")


def test_every_contract_has_a_loss_that_breaks_it():
  assert {contract for _, contract, _ in BROKEN} == set(CONTRACTS)


def test_sound_loss_of_a_third_party_passes(register):
  register("sound", sound, scale="beta", positive=("beta",))
  check_loss("sound(beta=0.4)")


def sorts_the_batch(scores, *, beta: float = 0.1):
  rho = jnp.sort(scores.log_ratios, axis=0)
  return jax.nn.softplus(-beta * (rho[:, 0] - rho[:, 1]))


def test_loss_that_mixes_rows_must_say_so(register):
  register("quiet", sorts_the_batch)
  with pytest.raises(
    AssertionError, match=r"contract 'unreduced': .* whole_batch=True"
  ):
    check_loss("quiet")


def test_loss_that_sorts_padding_too_is_told_of_weights(register):
  register("open", sorts_the_batch, whole_batch=True)
  with pytest.raises(
    AssertionError, match=r"contract 'padding': .* declare 'weight'"
  ):
    check_loss("open")


def falls(scores):
  return jax.nn.softplus(scores.log_ratios[:, 0])


def test_a_push_of_its_own_must_be_the_one_declared(register):
  register("falls", falls, pushes=(-1, 0))
  check_loss("falls")
  register("says_other", falls, pushes=(-1, -1))
  with pytest.raises(
    AssertionError, match=r"contract 'direction': it declares a push of sign -1"
  ):
    check_loss("says_other")
