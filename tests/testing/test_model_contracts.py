"""Each contract of models catches a model that is broken in its way."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from registries import BAG

from offalign import models
from offalign.distributed.sharding import Split
from offalign.models.base import Encoder
from offalign.testing import MODEL_CONTRACTS, check_model
from offalign.testing.models.case import V

pytestmark = pytest.mark.slow


@pytest.fixture
def bag(modules):
  modules("nets", BAG)
  return models.make("nets:bag", vocab_size=V)


def test_a_sound_model_passes(bag):
  check_model(bag)
  check_model("bag(width=4)")


def changed(bag, name):
  """The model, broken so that a contract fails and none before it."""

  def hidden(params, prompts, mask, completions, seen):
    given = prompts, mask, completions, seen
    prompt, states = bag.hidden(params, *given)
    own = params["table"][completions]
    match name:
      case "shapes":
        states = states[:, :, 1:]
      case "causality":
        states = states + own
      case "completions_apart":
        states = states + 0.1 * states.mean(1, keepdims=True)
      case "completion_padding":
        states = states + completions.shape[2]
      case "prompt_padding":
        prompt = prompt + params["table"][prompts].sum(1)
      case "prompt_matters":
        states = states - prompt[:, None, None]
        first = jnp.take_along_axis(prompts, mask.argmax(1)[:, None], 1)
        prompt = params["table"][first[:, 0]]
        states = states + prompt[:, None, None]
      case "rows_apart":
        states = states + prompt.sum(0)[None, None, None]
      case "prompt_state":
        prompt = 2 * prompt
      case "precision":
        states = states.astype("float32")
    return models.Hidden(prompt, states)

  def init(key):
    made = bag.init(key)
    match name:
      case "params":
        made["layers"] = {"a": jnp.ones((2, 3)), "b": jnp.ones((4, 3))}
      case "gradients":
        made["idle"] = jnp.ones(3)
      case "init":
        made = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)), made) | {
          k: jnp.cos(jnp.arange(x.size, dtype="f") * (3 + i)).reshape(x.shape)
          for i, (k, x) in enumerate(made.items())
        }
    return made

  def decode(params, cache, tokens):
    cache, state = bag.decode(params, cache, tokens)
    return cache, state * (1.1 if name == "decoding" else 1)

  def many(params, prompts, mask, completions, seen):
    k = completions.shape[1]
    again = [jnp.repeat(x, k, 0) for x in (prompts, mask)]
    found = bag.hidden(
      params, *again, completions.reshape(-1, 1, completions.shape[2]), seen
    )
    states = found.completions.reshape(*completions.shape, bag.width)
    return models.Hidden(found.prompt[::k], states)

  changes = {"hidden": hidden, "init": init, "decode": decode}
  match name:
    case "prompt_once":
      changes = {"hidden": many}
    case "encoder_state":
      changes = {"encoder": Encoder(lambda params: params, _unmasked)}
    case "splits":
      changes = {"splits": {"table": Split(-1, 9, 3, "parts")}}
  return dataclasses.replace(bag, **changes)


def _unmasked(params, prompts, mask):
  """The mean of the prompts' embeddings, padding's among them."""
  del mask
  return params["table"][prompts].mean(1)


def _of_last_token(params, prompts, mask):
  last = prompts.shape[1] - 1 - mask[:, ::-1].argmax(1)
  return params["table"][prompts[jnp.arange(len(prompts)), last]]


def test_an_encoder_sees_every_token(bag):
  blind = Encoder(lambda params: params, _of_last_token)
  with pytest.raises(AssertionError, match="prompt token 0 leaves"):
    check_model(dataclasses.replace(bag, encoder=blind))


@pytest.mark.parametrize("name", [n for n in MODEL_CONTRACTS if n != "packing"])
def test_a_broken_model_is_caught(bag, name):
  with pytest.raises(AssertionError, match=f"breaks the contract '{name}'"):
    check_model(changed(bag, name))
