"""In rounds, losses reach the best policy of their objective, in closed form.

Completions are of one token, so that log-probs of all of them say exactly what
a policy is worth: J = E r - tau KL(pi || pi_ref), whose maximum is
tau log E_ref exp(r / tau).
"""

import jax
import numpy as np
import pytest
import rounds

from offalign import Run
from offalign.data.text.ragged import Ragged
from offalign.policy import start
from offalign.types import Batch

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]


def log_probs(run, params):
  """float64 [prompts, V], of every token as a completion."""
  asked, pad = run._asked, run.inputs.tokenizer.pad_id
  n, vocab = len(asked.prompts), run.learner.model.vocab_size
  x, x_mask = asked.tokens.padded(np.arange(n), asked.lengths[0], pad)
  tokens = Ragged.of([np.array([v]) for v in range(vocab)])
  y, y_mask = tokens.padded(np.arange(vocab), 1, pad)
  batch = Batch(
    prompts=x,
    prompt_mask=x_mask,
    completions=np.broadcast_to(y, (n, vocab, 1)),
    completion_mask=np.broadcast_to(y_mask, (n, vocab, 1)),
    weight=np.ones(n, np.float32),
  )
  return np.asarray(run.learner.score(params, batch), np.float64)


@pytest.mark.parametrize(
  ("loss", "changes"),
  [
    ("rloo(beta=1.0)", {"batch_size": 4}),
    ("dro_v(tau=1.0)", {"batch_size": 128}),
    ("rebel(eta=1.0)", {"data": {"pairs": "adjacent"}, "batch_size": 64}),
    ("ppo(kl_coef=1.0)", {"batch_size": 128}),
  ],
)
def test_the_regret_vanishes(tmp_path, loss, changes):
  data = {"normalize_rewards": False, "eval_fraction": 0.0}
  options = rounds.options(
    tmp_path / "run",
    loss,
    batch_size=changes.get("batch_size", 32),
    log_every=50,
    eval_every=1000,
    save_every=1000,
    optimizer={"learning_rate": 1e-2, "schedule": "cosine"},
    data=data | changes.get("data", {}),
    grow={
      "prompts": rounds.PROMPTS[:4],
      "rounds": 150,
      "max_new_tokens": 1,
      "samples": 32,
      "batch": 4,
      "eval_prompts": 0,
    },
  )
  run = Run(**options)
  first = jax.device_get(run._first)
  run.train(verbose=False)
  last = start.restore(run.folder, run.learner.model, run.learner.mesh)
  before, after = (log_probs(run, params) for params in (first, last))
  decode = run.inputs.tokenizer.decode
  rewards = np.array(
    [rounds.ascii_share("", decode([v])) for v in range(before.shape[1])]
  )
  best = np.log((np.exp(before) * np.exp(rewards)).sum(axis=1)).mean()

  def worth(logps):
    kl = logps - before
    return (np.exp(logps) * (rewards - kl)).sum(axis=1).mean()

  regret = (best - worth(after)) / (best - worth(before))
  assert 0 <= regret < 0.04
  assert len(rounds.of_rounds(run.folder)) == 150
