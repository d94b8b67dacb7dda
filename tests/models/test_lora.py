"""LoRA: only adapters train, over one copy of the weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from offalign import losses, models
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.learner.objective import Objective
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.models import lora
from offalign.models.lora import LoraConfig
from offalign.training.metrics import finish
from offalign.types import Batch, Kind

SPECS = {
  "decoder": "decoder(width=16, layers=2, heads=2)",
  "t5": "t5(width=16, layers=2, heads=2, head_dim=8)",
}
V, B, P, T = 20, 16, 4, 3
CONFIG = LoraConfig(rank=3, alpha=5.0)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup_steps=0)


@pytest.fixture(scope="module")
def made():
  """name -> model and params; made once."""
  found = {}
  for name, spec in SPECS.items():
    model = models.make(spec, vocab_size=V)
    rng = np.random.default_rng(0)
    found[name] = (
      model,
      jax.tree.map(
        lambda x, rng=rng: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
      ),
    )
  return found


def quickly(function):
  """Compiled, in less time than `jax.jit` takes."""
  return jax.jit(
    function, compiler_options={"xla_backend_optimization_level": 0}
  )


def rows(loss):
  rng = np.random.default_rng(0)
  k = 2 if losses.get(loss).kind == Kind.PAIR else 1
  return Batch(
    prompts=rng.integers(0, V, (B, P)).astype(np.int32),
    prompt_mask=np.ones((B, P), bool),
    completions=rng.integers(0, V, (B, k, T)).astype(np.int32),
    completion_mask=np.ones((B, k, T), bool),
    weight=np.ones(B, np.float32),
    rewards=rng.normal(size=(B, k)).astype(np.float32),
    labels=rng.random((B, k)) > 0.5,
    ref_logps=rng.normal(-9, 1, (B, k)).astype(np.float32),
  )


def trained(params, seed=1):
  """Adapters as training could leave them: b is not 0."""
  shapes = jax.eval_shape(
    lambda p: lora.init(CONFIG, jax.random.key(0), p), params
  )
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: rng.normal(0, 0.25, x.shape).astype(np.float32), shapes
  )


@pytest.mark.parametrize("name", SPECS)
def test_new_adapters_change_nothing_and_merging_is_the_same(made, name):
  model, params = made[name]
  batch = rows("dpo")
  score = quickly(
    Objective(loss=losses.get("dpo"), model=model, value=None).logps
  )
  plain = score(params, batch)
  adapters = lora.init(CONFIG, jax.random.key(0), params)
  new = score(lora.combine(CONFIG, params, adapters), batch)
  np.testing.assert_array_equal(plain, new)
  adapters = trained(params)
  apart = score(lora.combine(CONFIG, params, adapters), batch)
  whole = score(lora.merge(CONFIG, params, adapters), batch)
  assert np.abs(apart - plain).max() > 0.1
  np.testing.assert_allclose(apart, whole, atol=2e-5)


def test_adapters_are_found_in_what_they_were_combined_into(made):
  _, params = made["decoder"]
  adapters = lora.init(CONFIG, jax.random.key(1), params)
  combined = lora.combine(CONFIG, params, adapters)
  chex.assert_trees_all_equal(lora.adapters_in(combined), adapters)
  assert lora.adapters_in(params) == {}


def test_a_new_a_is_uniform_and_of_its_seed(made):
  _, params = made["decoder"]
  config = LoraConfig(rank=64, targets="down")
  one, two = (lora.init(config, jax.random.key(i), params) for i in (0, 1))
  a = np.asarray(one["layers"]["down"]["a"])
  assert a.shape == (2, 64, 64)
  bound = 64**-0.5  # of n = 64 inputs
  assert np.abs(a).max() <= bound
  np.testing.assert_allclose(a.std(), bound / 3**0.5, rtol=0.03)
  assert not np.array_equal(a, two["layers"]["down"]["a"])
  assert not np.array_equal(a[0], a[1])


@pytest.mark.parametrize(
  ("name", "spec", "value"),
  [
    ("decoder", "kto", None),
    ("decoder", "dro_v", ValueConfig("shared")),
    ("t5", "dro_v", ValueConfig("separate")),
    ("t5", "dro_v", ValueConfig("encoder")),
  ],
)
def test_the_objective_is_that_of_the_merged_weights(made, name, spec, value):
  """With them as policy and value trunk, and the frozen ones as reference."""
  model, params = made[name]
  batch = rows(spec)
  plain = Objective(loss=losses.get(spec), model=model, value=value)
  own = {"policy": trained(params)}
  whole = {"policy": lora.merge(CONFIG, params, own["policy"])}
  if value is not None:
    rng = np.random.default_rng(3)
    head = {"kernel": rng.normal(size=16).astype("float32"), "bias": 0.5}
    own["value"] = {"head": head}
    whole["value"] = {"head": head}
  if value not in (None, ValueConfig("shared")):
    trunk = trained(params, seed=2)
    merged = lora.merge(CONFIG, params, trunk)
    if value == ValueConfig("encoder"):
      trunk, merged = (model.encoder.params(x) for x in (trunk, merged))
    own["value"]["trunk"], whole["value"]["trunk"] = trunk, merged

  @quickly
  def both(params, own, whole, batch):
    over = plain.over(CONFIG, params)
    return over.losses(own, batch, {}), plain.losses(whole, batch, params)

  found, expected = both(params, own, whole, batch)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
  assert np.ptp(found[0]) > 0.01


def run(made, name, spec, *, mesh=None, steps=3, **config):
  """The state, metrics and losses after some steps; the frozen weights."""
  model, params = made[name]
  mesh = mesh or sharding.one_device()
  config = LearnerConfig(optimizer=OPTIMIZER, lora=CONFIG, **config)
  learner = Learner(spec, model, config, mesh)
  base = jax.device_put(params, sharding.state_shardings(mesh, params))
  state = learner.init(base)
  first = jax.device_get(state.params)
  batch, step = sharding.put_batch(mesh, rows(spec)), quickly(learner.step)
  for _ in range(steps):
    state, metrics = step(state, batch, base)
  after = jax.device_get((state.params, finish(metrics), metrics["losses"]))
  chex.assert_trees_all_equal(jax.device_get(base), jax.device_get(params))
  return first, after, state


def test_only_adapters_and_a_head_train(made):
  first, (after, metrics, _), state = run(made, "t5", "dro_v")
  shapes = {x.shape for x in jax.tree.leaves(made["t5"][1])}
  held = jax.tree.leaves((state.params, state.opt_state))
  assert not shapes & {x.shape for x in held if x.ndim > 1}
  chex.assert_trees_all_equal(first["policy"], first["value"]["trunk"])
  for path, leaf in traverse_util.flatten_dict(after).items():
    # What the value reads looks at one token; there is nothing to weigh.
    idle = path[:4] == ("value", "trunk", "decoder", "layers") and (
      path[4] == "attention" and path[5] in ("query", "key")
    )
    before = traverse_util.flatten_dict(first)[path]
    assert np.array_equal(leaf, before) == idle, path
  assert metrics["grad_norm"] > 0
  assert metrics["grad_norm/value"] > 0


def test_eight_devices_and_microbatches_change_nothing(made, monkeypatch):
  monkeypatch.setattr(sharding, "SMALL", 1)
  mesh = sharding.make_mesh(sharding.MeshConfig(fsdp=4))
  _, one, _ = run(made, "decoder", "dpo")
  _, split, _ = run(made, "decoder", "dpo", mesh=mesh, microbatches=2)
  chex.assert_trees_all_close(one, split, rtol=2e-4, atol=2e-5)


def test_the_frozen_weights_are_there_once(made):
  """What a step is given is one copy of them, and the adapters' state."""
  model, params = made["decoder"]
  learner = Learner(
    "kto",
    model,
    LearnerConfig(optimizer=OPTIMIZER, lora=CONFIG),
    sharding.one_device(),
  )
  state, batch = learner.init(params), rows("kto")
  state_bytes, base, given = (
    sum(x.nbytes for x in jax.tree.leaves(tree))
    for tree in (state, params, batch)
  )
  compiled = learner.train_step.lower(state, batch, params).compile()
  memory = compiled.memory_analysis()
  assert memory.argument_size_in_bytes <= state_bytes + base + given
  assert memory.output_size_in_bytes < state_bytes + base / 10
  used = learner.policy(state.params, params)
  kernel = used["layers"]["query"]["kernel"].kernel
  assert kernel is params["layers"]["query"]["kernel"]


def test_bfloat16_weights_under_float32_adapters(made):
  model, params = made["decoder"]
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  own, batch = {"policy": trained(params)}, rows("dpo")
  plain = Objective(
    loss=losses.get("dpo"), model=model, value=None, compute_dtype="bfloat16"
  )

  @quickly
  def grads(own, base, batch):
    return plain.over(CONFIG, base).grads(own, batch, {})

  # A weight that is frozen loses nothing by what the step would round anyway.
  expected, found = (grads(own, base, batch) for base in (params, half))
  chex.assert_trees_all_equal(found, expected)
  leaves = jax.tree.leaves(found[0])
  assert {x.dtype.name for x in leaves} == {"float32"}
  assert all(np.abs(x).max() > 0 for x in leaves)
  learner = Learner("dpo", model, LearnerConfig(lora=CONFIG))
  new = jax.eval_shape(learner.fresh, half).params
  assert {x.dtype.name for x in jax.tree.leaves(new)} == {"float32"}


@pytest.mark.parametrize(
  ("name", "targets", "expected"),
  [
    ("decoder", "query, value", {"query", "value"}),
    ("decoder", "all", {"query", "key", "value", "out", "up", "down"}),
    ("t5", "attention,gate", {"query", "key", "value", "out", "gate"}),
  ],
)
def test_targets(made, name, targets, expected):
  found = lora.targets(LoraConfig(targets=targets), made[name][1])
  assert {path[-1] for path in found} == expected
  towers = {path[:-1] for path in found if path[-1] == "query"}
  assert len(towers) == {"decoder": 1, "t5": 3}[name]


@pytest.mark.parametrize(
  ("targets", "sentence"),
  [
    ("quary", r"no map 'quary'; did you mean 'query'\? \(there is: .*down"),
    ("q_proj", r"has 'q_proj', but this model .*\(there is: .*query.*all"),
    ("query,gate", r"targets has 'gate', but this model has no map 'gate'"),
    ("", r"targets has ''"),
  ],
)
def test_unknown_targets_are_refused(made, targets, sentence):
  model, _ = made["decoder"]
  with pytest.raises(UserError, match=sentence):
    Learner("sft", model, LearnerConfig(lora=LoraConfig(targets=targets)))


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ({"rank": 0}, "^lora.rank must be at least 1, not 0"),
    ({"alpha": 0.0}, "^lora.alpha must be above 0"),
    ({"rank": 2.5}, "^lora.rank must be a whole number"),
  ],
)
def test_wrong_sizes_are_refused(options, sentence):
  with pytest.raises(UserError, match=sentence):
    LoraConfig(**options)


def test_a_step_without_the_frozen_weights_is_refused(made):
  model, params = made["decoder"]
  learner = Learner("sft", model, LearnerConfig(lora=CONFIG))
  with pytest.raises(UserError, match="give them as ref_params"):
    learner.step(learner.fresh(params), rows("sft"))


def test_a_model_without_layers_is_refused():
  with pytest.raises(UserError, match="this model has none"):
    lora.targets(CONFIG, {"head": {"kernel": np.ones((2, 2))}})


def test_nothing_but_maps_is_replaced(made):
  _, params = made["t5"]
  merged = lora.merge(CONFIG, params, trained(params))
  flat, before = map(traverse_util.flatten_dict, (merged, params))
  for path, leaf in flat.items():
    kept = path[-1] != "kernel" or path[0] == "head"
    assert np.array_equal(leaf, before[path]) == kept
