"""Every registered loss keeps every contract, the next one included."""

import itertools

import numpy as np
import pytest
from specs import specs

from offalign import losses
from offalign.testing import check_loss, evaluate
from offalign.types import Scores


@pytest.mark.parametrize("spec", specs())
def test_loss_keeps_its_contracts(spec):
  check_loss(spec)


def test_every_loss_has_a_gradient_of_its_own():
  rng = np.random.default_rng(1)
  lengths = rng.integers(40, 90, (6, 2))
  ref_logps = -lengths * rng.uniform(0.5, 1.5, (6, 2))
  # Log-ratios wide enough for margins on both sides of every kink.
  table = {
    "logps": ref_logps * rng.uniform(0.2, 1.8, (6, 2)),
    "ref_logps": ref_logps,
    "behaviour_logps": ref_logps + 0.1,
    "prefix_logps": 0.6 * ref_logps,
    "ref_prefix_logps": 0.5 * ref_logps,
    # On both sides of what the policy draws.
    "log_collisions": np.linspace(0.3, 2.5, 12).reshape(6, 2) * ref_logps,
    "lengths": lengths,
    "rewards": rng.normal(size=(6, 2)),
    "margins": np.linspace(-1.0, 2.0, 6),
    "labels": rng.permutation(np.arange(12) % 3 == 0).reshape(6, 2),
    "values": rng.normal(size=(6, 2)),
    "kl": 0.3,
  }
  mask = np.arange(90) < lengths[..., None]
  table |= {
    f"{name}token_logps": mask * (table[f"{name}logps"] / lengths)[..., None]
    for name in ("", "ref_", "behaviour_")
  }
  table |= {
    "token_mask": mask,
    "token_kls": mask * (1.0 + np.sin(np.arange(90))),
    "token_values": mask * table["values"][..., None],
    "token_weights": mask * (1.0 + 0.5 * np.cos(np.arange(90))),
  }
  grads = {}
  for spec in specs():
    loss = losses.get(spec)
    weight = np.ones(6)
    state = loss.update_state(
      Scores({**table, "weight": weight}), loss.init_state()
    )
    found = evaluate(spec, **table, state=state or None).grads
    trained = "values" if loss.trains_rewards else "logps"
    grads[spec] = found[trained]
    if "token_logps" in found:
      grads[spec] = grads[spec] + found["token_logps"].sum(axis=-1)
  for (one, a), (other, b) in itertools.combinations(grads.items(), 2):
    assert not np.allclose(a, b, rtol=1e-6, atol=0), f"{one} is {other}"


def test_variants_are_no_defaults():
  printed = [str(losses.get(spec)) for spec in specs()]
  assert printed == specs()
  assert len(set(printed)) == len(printed)
