"""Ours and theirs, side by side on one batch."""

import dataclasses
import functools
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_decoder
from decoder_cases import CASES
from flax import traverse_util

from offalign import losses, scoring
from offalign.models import decoder_families, hf, layers
from offalign.models.decoder import Decoder
from offalign.objective import Objective
from offalign.types import Batch
from offalign.value import ValueConfig

PROMPTS = (9, 1, 4)  # tokens of each; more and fewer than a window of 5
COMPLETIONS = ((8, 3), (1, 6), (5, 8))
P, K, T = 10, 2, 8
BETA, TAU = 0.3, 0.7


@dataclasses.dataclass(frozen=True)
class Pair:
  """One checkpoint on both sides.

  Attributes:
    theirs: the model in torch.
    model: ours, with its params and its config.
    folder: the checkpoint.
  """

  theirs: Any
  model: Any
  params: Any
  config: Any
  folder: pathlib.Path

  @functools.cached_property
  def forward(self):
    """jit of (params, batch) -> logits [B, K, T, V] and values [B]."""
    return jax.jit(functools.partial(logits, self.model))


@functools.cache
def pair(name):
  """Makes a checkpoint, once."""
  folder = pathlib.Path(tempfile.mkdtemp())
  case = CASES[name]
  theirs = torch_decoder.make(case.config, case.options, folder)
  model, params = hf.load(folder)
  config = decoder_families.from_hf(hf.read_config(folder))
  return Pair(theirs, model, params, config, folder)


@functools.cache
def rows(vocab_size, seed=0):
  """Prompts [[...]] and completions [[[...]]] without padding."""
  rng = np.random.default_rng(seed)
  draw = lambda n: rng.integers(2, vocab_size, n).tolist()
  return [draw(n) for n in PROMPTS], [[draw(n) for n in c] for c in COMPLETIONS]


def batch(vocab_size, side):
  """The rows as a `Batch`, prompts padded on one side."""
  prompts, completions = rows(vocab_size)
  rng = np.random.default_rng(1)
  padded = np.full((len(PROMPTS), P), 3, np.int32)
  mask = np.zeros(padded.shape, bool)
  for i, prompt in enumerate(prompts):
    at = slice(P - len(prompt), P) if side == "left" else slice(len(prompt))
    padded[i, at], mask[i, at] = prompt, True
  answers = np.full((len(PROMPTS), K, T), 5, np.int32)
  for i, k in np.ndindex(answers.shape[:2]):
    answers[i, k, : COMPLETIONS[i][k]] = completions[i][k]
  return Batch(
    prompts=padded,
    prompt_mask=mask,
    completions=answers,
    completion_mask=np.arange(T) < np.array(COMPLETIONS)[..., None],
    weight=np.ones(len(PROMPTS), np.float32),
    rewards=rng.normal(size=(len(PROMPTS), K)).astype(np.float32),
    ref_logps=rng.normal(-20, 5, (len(PROMPTS), K)).astype(np.float32),
  )


def logits(model, params, batch):
  """[B, K, T, V]."""
  hidden = model.hidden(
    params,
    batch.prompts,
    batch.prompt_mask,
    batch.completions,
    batch.completion_mask,
  )
  raw = hidden.completions @ model.unembedding(params)
  return scoring.soft_cap(raw, model.softcap)


@functools.cache
def their_logits(name):
  """[B][K] of [T, V], each without padding."""
  theirs = pair(name).theirs
  prompts, completions = rows(theirs.config.vocab_size)
  with torch.no_grad():
    return [
      [torch_decoder.logits(theirs, x, y).numpy() for y in ys]
      for x, ys in zip(prompts, completions, strict=True)
    ]


def error(name, ours):
  """The largest difference of logits [B, K, T, V] from theirs."""
  return max(
    np.abs(np.asarray(ours[i, k, : len(theirs)]) - theirs).max()
    for i, each in enumerate(their_logits(name))
    for k, theirs in enumerate(each)
  )


def mistaken(name, fields):
  """The same with a mistake: fields of the config that are otherwise."""
  made = pair(name)
  config = dataclasses.replace(made.config, **fields)
  model = layers.as_model(
    lambda rngs: Decoder(config, rngs=rngs),
    spec="mistaken",
    vocab_size=config.vocab_size,
    width=config.width,
  )
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  flat = traverse_util.flatten_dict(made.params)
  kept = {path: flat[path] for path in traverse_util.flatten_dict(shapes)}
  with jax.disable_jit():
    ours = logits(
      model,
      traverse_util.unflatten_dict(kept),
      batch(config.vocab_size, "right"),
    )
  return error(name, ours)


def gradients(model, params, head, batch):
  """Ours: of DPO, and of DRO-V with a separate network for V(x)."""
  policy = {"policy": params}
  both = policy | {"value": {"trunk": params, "head": head}}
  dpo = Objective(losses.get(f"dpo(beta={BETA})"), model, None)
  dro_v = Objective(losses.get(f"dro_v(tau={TAU})"), model, ValueConfig())
  return {
    "dpo": dpo.grads(policy, batch, None)[0]["policy"],
    "dro_v": dro_v.grads(both, batch, None)[0],
    "logps": dpo.logps(params, batch),
  }


def head(width):
  """A value head that is not zero."""
  kernel = np.random.default_rng(2).normal(size=width).astype(np.float32)
  return {"kernel": kernel / width**0.5, "bias": jnp.float32(0.1)}
