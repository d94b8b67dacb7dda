"""A streamed completion is the sampled one, however it comes in pieces."""

import jax
import numpy as np
import pytest

from offalign import models
from offalign.data import Tokenizer
from offalign.errors import UserError
from offalign.generation.sampling import sample
from offalign.generation.streaming import stream

TOKENIZER = Tokenizer.byte()
PROMPT = "what is it?"


@pytest.fixture(
  scope="module",
  params=["decoder(width=16, heads=2)", "t5(width=16, heads=2, head_dim=8)"],
  ids=["decoder", "t5"],
)
def policy(request):
  model = models.make(request.param, vocab_size=TOKENIZER.vocab_size)
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes
  )
  return model, params


def tokens():
  (made,), _ = TOKENIZER.encode_prompts([PROMPT])
  return made


def whole(policy, **options):
  prompt = tokens()[None]
  found = sample(
    *policy,
    prompt,
    np.ones(prompt.shape, bool),
    seeds=np.array([options.pop("seed")], np.int32),
    eos_id=list(TOKENIZER.end_ids),
    **options,
  )
  ids = np.asarray(found.tokens)[0][np.asarray(found.mask)[0]]
  return TOKENIZER.decode(ids), len(ids), ids[-1] in TOKENIZER.end_ids


@pytest.mark.parametrize(
  "options",
  [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
  ],
)
@pytest.mark.parametrize("limit", [1, 4, 9])
def test_the_text_is_that_of_the_sampler(policy, options, limit):
  for seed in (0, 7):
    given = {"seed": seed, "max_new_tokens": limit, **options}
    pieces = list(stream(*policy, TOKENIZER, tokens(), **given))
    text = "".join(piece.text for piece in pieces)
    last = pieces[-1]
    assert (text, last.tokens, last.finished) == whole(policy, **given)
    assert all(piece.finished is None for piece in pieces[:-1])


def test_characters_of_several_tokens_are_never_cut(policy):
  given = {"seed": 3, "max_new_tokens": 60, "temperature": 1.0}
  pieces = list(stream(*policy, TOKENIZER, tokens(), **given))
  assert "".join(piece.text for piece in pieces) == whole(policy, **given)[0]
  for piece in pieces[:-1]:
    assert not piece.text.endswith("\ufffd")


@pytest.mark.parametrize(
  ("options", "error"),
  [
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ({"temperature": -1.0}, "temperature must be 0 or above"),
    ({"temperature": 0.0, "top_k": 3}, "has no effect at temperature 0"),
  ],
)
def test_options_out_of_range_are_refused_at_once(policy, options, error):
  with pytest.raises(UserError, match=error):
    stream(
      *policy, TOKENIZER, tokens(), seed=0, **{"max_new_tokens": 3, **options}
    )
