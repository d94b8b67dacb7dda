"""Small batches and models that several test files share."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.bandit_model import tabular
from offalign import losses
from offalign.types import Batch, Kind

X, Y = 8, 5


def table(seed=0):
  """A tabular model, its reference and a policy that differs from it."""
  rng = np.random.default_rng(seed)
  log_ref = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(X, Y)), "float32"))
  model = tabular(log_ref)
  reference = model.init(jax.random.key(0))
  noise = jnp.asarray(rng.normal(size=(X, Y)), "float32")
  return model, reference, {"table": reference["table"] + 0.3 * noise}


def batch(loss, size=24, padding=3, seed=0):
  """Rows for any loss, the last `padding` of them without weight."""
  rng = np.random.default_rng(seed)
  _, reference, _ = table()
  k = {Kind.SINGLE: 1, Kind.PAIR: 2, Kind.GROUP: 3}[losses.get(loss).kind]
  prompts = rng.integers(0, X, (size, 1))
  completions = rng.integers(0, Y, (size, k, 1))
  weight = np.ones(size, np.float32)
  weight[size - padding :] = 0
  ref = np.asarray(reference["table"])[prompts, completions[..., 0]]
  return Batch(
    prompts=prompts.astype(np.int32),
    prompt_mask=np.ones((size, 1), bool),
    completions=completions.astype(np.int32),
    completion_mask=np.ones((size, k, 1), bool),
    weight=weight,
    rewards=rng.normal(size=(size, k)).astype(np.float32),
    labels=rng.random((size, k)) > 0.5,
    ref_logps=ref.astype(np.float32),
    behaviour_token_logps=ref[..., None].astype(np.float32),
    token_weights=rng.uniform(0.5, 1.5, (size, k, 1)).astype(np.float32),
  )


def one_of_each_kind_and_needs():
  """A new loss adds a case only where it asks for something new."""
  specs = [*losses.names(), "kto(threshold=batch)", "kto(threshold=prompt)"]
  specs += ["sft(on=desirable)", "ipo(length_normalized=True)"]
  seen = {}
  for spec in specs:
    loss = losses.get(spec)
    key = (loss.kind, tuple(sorted(loss.needs)), loss.whole_batch)
    seen.setdefault(key, spec)
  return sorted(seen.values())
