"""How far a model here is from the same one in `transformers`.

Everything is computed twice from one folder: by us on a padded batch, and by
torch row by row on what is left without the padding, so that agreement is
also a proof that padding changes nothing. Needs torch and transformers.
"""

import dataclasses
import functools
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import parity_torch
from offalign import losses
from offalign.generation.sampling import sample
from offalign.learner.objective import Objective
from offalign.learner.value import ValueConfig
from offalign.models import hf
from offalign.models import logps as scoring
from offalign.models.base import Model
from offalign.models.hf.folder import read_config
from offalign.models.hf.read_leaves import axis_of_rows, flatten
from offalign.models.hf.weight_layout import disassemble
from offalign.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class Errors:
  """Largest absolute errors; of gradients, relative to the largest entry.

  Attributes:
    largest: the largest logit, to compare `logits` with.
    logits: of every completion token.
    logps: of whole completions; nats.
    dpo: of DPO's gradient with respect to the named weights.
    dro_v: of DRO-V's, with respect to the policy's and the value network's.
    greedy: whether greedy generation gives the same tokens.
  """

  largest: float
  logits: float
  logps: float
  dpo: float
  dro_v: float
  greedy: bool


def compare(
  folder: Path, theirs: Any, weights: tuple[str, ...], network: Any = "separate"
) -> Errors:
  """Compares what we make of a folder with a torch model.

  Args:
    folder: a model folder.
    theirs: the torch model that it holds.
    weights: tensors whose gradients are compared.
    network: of the value; see `ValueConfig`.
  """
  model, params = hf.load(folder)
  rows = batch(model.vocab_size)
  expected = [
    [y.detach().numpy() for y in row]
    for row in parity_torch.logits(theirs, rows)
  ]
  logps, dpo, dro_v = ours(model, params, rows, network)
  their_logps = parity_torch.logps(theirs, rows).detach().numpy()
  their_dpo = parity_torch.dpo(theirs, rows, weights)
  their_dro_v = parity_torch.dro_v(theirs, rows, weights, network)
  tensors = functools.partial(_as_tensors, folder, params)
  return Errors(
    largest=max(float(np.abs(y).max()) for row in expected for y in row),
    logits=logit_error(model, params, rows, expected),
    logps=float(np.abs(logps - their_logps).max()),
    dpo=_relative(tensors(dpo), their_dpo["policy"], weights),
    dro_v=max(
      _relative(tensors(_trunk(dro_v[name])), grads, weights)
      for name, grads in their_dro_v.items()
    ),
    greedy=_same_tokens(model, params, rows, theirs),
  )


def batch(vocab_size: int) -> Batch:
  """Pairs for prompts of unequal lengths, padded on either side."""
  rng = np.random.default_rng(0)
  b, k, p, t = 4, 2, 21, 9
  prompt_mask = np.ones((b, p), bool)
  prompt_mask[1, :6] = False
  prompt_mask[2, 11:] = False
  prompt_mask[3, :3] = prompt_mask[3, 16:] = False
  lengths = np.array([[9, 4], [1, 7], [9, 9], [5, 2]])
  return Batch(
    prompts=rng.integers(2, vocab_size, (b, p)).astype(np.int32),
    prompt_mask=prompt_mask,
    completions=rng.integers(2, vocab_size, (b, k, t)).astype(np.int32),
    completion_mask=np.arange(t) < lengths[..., None],
    weight=np.ones(b, np.float32),
    rewards=rng.normal(size=(b, k)).astype(np.float32),
    ref_logps=rng.normal(-30, 3, size=(b, k)).astype(np.float32),
  )


def logits(model: Model, params: Params, rows: Batch) -> np.ndarray:
  """Ours: [B, K, T, V]."""
  hidden = jax.jit(model.hidden)(
    params,
    rows.prompts,
    rows.prompt_mask,
    rows.completions,
    rows.completion_mask,
  )
  raw = hidden.completions @ model.unembedding(params)
  return np.asarray(scoring.soft_cap(raw, model.softcap))


def logit_error(
  model: Model, params: Params, rows: Batch, expected: list[list[np.ndarray]]
) -> float:
  """The largest error of our logits on real tokens."""
  found = logits(model, params, rows)
  return max(
    float(np.abs(found[b, k, : len(y)] - y).max())
    for b, row in enumerate(expected)
    for k, y in enumerate(row)
  )


def ours(
  model: Model, params: Params, rows: Batch, network: Any
) -> tuple[Any, Params, dict[str, Params]]:
  """Ours: log-probs [B, K], and the gradients of DPO and of DRO-V."""
  kernel = jnp.asarray(parity_torch.value_head(model.width))
  value: dict[str, Any] = {"head": {"kernel": kernel, "bias": jnp.ones(())}}
  if network == "separate":
    value["trunk"] = params
  dpo = Objective(
    loss=losses.get(f"dpo(beta={parity_torch.BETA})"), model=model, value=None
  )
  dro_v = Objective(
    loss=losses.get(f"dro_v(tau={parity_torch.TAU})"),
    model=model,
    value=ValueConfig(network=network),
  )

  # One program, since they share most of it; to compile is most of the time.
  @functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
  )
  def everything(policy: Params, value: Params) -> Any:
    alone, both = {"policy": policy}, {"policy": policy, "value": value}
    return (
      dpo.logps(policy, rows),
      dpo.grads(alone, rows, None)[0]["policy"],
      dro_v.grads(both, rows, None)[0],
    )

  return everything(params, value)


def _trunk(grads: Params) -> Params:
  return grads.get("trunk", grads)


def _as_tensors(folder: Path, params: Params, grads: Params) -> dict[str, Any]:
  """Gradients of leaves as gradients of a checkpoint's tensors."""
  sources = hf.sources_of(read_config(folder), tied="head" not in params)
  parts: dict[str, list[Any]] = {}
  for path, leaf in flatten(grads).items():
    source = sources[path]
    for name, rows, tensor in disassemble(source, np.asarray(leaf)):
      parts.setdefault(name, []).append((rows, axis_of_rows(source), tensor))
  return _with_experts_joined(
    {
      name: np.concatenate(
        [tensor for _, _, tensor in sorted(found, key=lambda part: part[0])],
        axis=found[0][1],
      )
      if len(found) > 1
      else found[0][2]
      for name, found in parts.items()
    }
  )


_EXPERTS = r"(.*\.(?:mlp|block_sparse_moe))\.experts\.0\.%s\.weight"


def _with_experts_joined(tensors: dict[str, Any]) -> dict[str, Any]:
  """Adds what transformers makes of experts' tensors and of the router's."""
  joined = dict(tensors)

  def each(where: str, part: str) -> Any:
    names = itertools.count()
    found = (f"{where}.experts.{i}.{part}.weight" for i in names)
    return np.stack(
      [tensors[n] for n in itertools.takewhile(tensors.__contains__, found)]
    )

  for gate, up, down in (("gate_proj", "up_proj", "down_proj"), _MIXTRAL):
    for name in tensors:
      if found := re.fullmatch(_EXPERTS % gate, name):
        where = found[1]
        to = where.replace("block_sparse_moe", "mlp")
        joined[f"{to}.experts.gate_up_proj"] = np.concatenate(
          [each(where, gate), each(where, up)], axis=1
        )
        joined[f"{to}.experts.down_proj"] = each(where, down)
        joined[f"{to}.gate.weight"] = tensors[f"{where}.gate.weight"]
  return joined


_MIXTRAL = ("w1", "w3", "w2")


def _relative(
  ours: dict[str, Any], theirs: dict[str, Any], weights: tuple[str, ...]
) -> float:
  return max(
    float(np.abs(ours[w] - theirs[w]).max() / np.abs(theirs[w]).max())
    for w in weights
  )


def _same_tokens(
  model: Model, params: Params, rows: Batch, theirs: Any
) -> bool:
  eos = theirs.config.eos_token_id
  drawn = sample(
    model,
    params,
    rows.prompts,
    rows.prompt_mask,
    seeds=np.zeros(len(rows.prompts), np.int32),
    max_new_tokens=parity_torch.NEW_TOKENS,
    eos_id=eos,
    temperature=0.0,
  )
  for b, prompt in enumerate(parity_torch.prompts(rows)):
    their = parity_torch.greedy(theirs, prompt)
    if drawn.tokens[b][drawn.mask[b]].tolist() != their:
      return False
  return True
