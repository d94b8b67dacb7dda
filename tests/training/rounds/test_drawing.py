"""Samples of a round: tokens, log-probs, and batches of one shape."""

import jax
import numpy as np
import pytest
import runs

from offalign import models
from offalign.config import GrowConfig
from offalign.data import make_tokenizer
from offalign.data.text.ragged import Ragged
from offalign.distributed import sharding
from offalign.distributed.signals import Stop, Stopped
from offalign.learner import Learner
from offalign.training.rounds.drawing import Drawer, Drawn, batch_of
from offalign.types import Batch

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
PROMPTS = Ragged.of([np.array(x, np.int32) for x in ([70, 71], [72], [73] * 3)])
WHICH = np.array([0, 1, 2, 2, 0])
SEEDS = np.array([5, 6, 7, 8, 9])


def made(batch, stop=None):
  tokenizer = make_tokenizer("byte", [], None)
  model = models.make(runs.DECODER, vocab_size=tokenizer.vocab_size)
  params = jax.jit(model.init)(jax.random.key(0))
  drawer = Drawer(
    tokenizer,
    sharding.one_device(),
    GrowConfig(score="f"),
    width=3,
    longest=4,
    batch=batch,
    stop=stop or Stop(),
  )
  return model, params, drawer


def test_samples_do_not_depend_on_how_they_are_batched():
  model, params, drawer = made(4)
  whole = drawer.draw(model, params, PROMPTS, WHICH, SEEDS)
  assert len(whole.tokens) == len(whole.logps) == len(whole.finished) == 5
  some = drawer.draw(model, params, PROMPTS, WHICH[2:4], SEEDS[2:4])
  for i in range(2):
    np.testing.assert_array_equal(some.tokens[i], whole.tokens[2 + i])
  np.testing.assert_allclose(some.logps, whole.logps[2:4], rtol=1e-6)


def test_log_probs_are_those_of_the_tokens():
  model, params, drawer = made(4)
  drawn = drawer.draw(model, params, PROMPTS, WHICH, SEEDS)
  learner = Learner("sft", model, mesh=sharding.one_device())
  x, x_mask = PROMPTS.padded(WHICH, 3, 0)
  y, y_mask = drawn.tokens.padded(np.arange(5), 4, 0)
  batch = Batch(
    prompts=x,
    prompt_mask=x_mask,
    completions=y[:, None],
    completion_mask=y_mask[:, None],
    weight=np.ones(5, np.float32),
  )
  scored = learner.score(params, batch)[:, 0]
  np.testing.assert_allclose(drawn.logps, scored, rtol=1e-4)
  sums = [row.sum() for row in drawn.token_logps]
  np.testing.assert_allclose(drawn.logps, sums, rtol=1e-5)
  ends = drawer.tokenizer.end_ids
  for row, finished in zip(drawn.tokens, drawn.finished, strict=True):
    assert finished == (row[-1] in ends)
    assert 1 <= len(row) <= 4


def test_parts_are_joined_in_the_order_that_is_asked_for():
  tokens = Ragged.of([np.array([1]), np.array([2, 2])])
  one = Drawn(tokens, np.ones(2), tokens, np.ones(2))
  tokens = Ragged.of([np.array([3])])
  other = Drawn(tokens, np.zeros(1), tokens, np.zeros(1))
  both = Drawn.joined([one, other], np.array([0, 2, 1]))
  assert [row.tolist() for row in both.tokens] == [[1], [3], [2, 2]]
  assert [row.tolist() for row in both.token_logps] == [[1], [3], [2, 2]]
  assert both.logps.tolist() == [1, 0, 1]


def test_it_stops_between_batches():
  model, params, drawer = made(2, runs.After(2))
  with pytest.raises(Stopped):
    drawer.draw(model, params, PROMPTS, WHICH, SEEDS)


def test_a_batch_is_what_devices_and_microbatches_divide():
  mesh = sharding.one_device()
  assert batch_of(mesh, 3, 7) == 9
  assert batch_of(mesh, 1, 7) == 7
