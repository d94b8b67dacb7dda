"""A plain PyTorch step of DPO, KTO or DRO-V on a `transformers` decoder.

What a careful user would write: reference log-probs are data, logits are made
for completion tokens alone, and a prompt runs once for each of its completions.
DRO-V has a value network of its own, read once a prompt from the state after
it, and `transformers`' Adafactor; the others have PyTorch's fused AdamW.
"""

import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.throughput import protocol
from benchmarks.throughput.cases import MODELS, Case

BETA = 0.1
REFERENCE = -600.0  # log-probs of every completion


def model(case: Case) -> transformers.PreTrainedModel:
  """The case's decoder, float32."""
  if case.weights:
    return transformers.AutoModelForCausalLM.from_pretrained(
      case.weights, dtype=torch.float32
    )
  config = transformers.LlamaConfig(**MODELS[case.model])
  return transformers.LlamaForCausalLM(config)


def logps(
  policy: transformers.PreTrainedModel,
  prompts: torch.Tensor,
  completions: torch.Tensor,
) -> torch.Tensor:
  """Log-probs [N] of completions [N, T] after prompts [N, S]."""
  ids, length = torch.cat([prompts, completions], 1), completions.shape[1]
  # The state before each completion token predicts it; the last predicts none.
  logits = policy(input_ids=ids, logits_to_keep=length + 1).logits[:, :-1]
  each = torch.log_softmax(logits, -1).gather(2, completions[..., None])
  return each[..., 0].sum(1)


def dpo(rho: torch.Tensor) -> torch.Tensor:
  """arXiv:2305.18290, (7), of log-ratios [B, 2]."""
  margin = BETA * (rho[:, 0] - rho[:, 1])
  return -torch.nn.functional.logsigmoid(margin).mean()


def kto(
  rho: torch.Tensor, mismatched: torch.Tensor, good: torch.Tensor
) -> torch.Tensor:
  """arXiv:2402.01306, (8), of log-ratios [N] and those of mismatched pairs."""
  margin = BETA * (rho - mismatched.mean().clamp(min=0))
  return 1 - torch.sigmoid(torch.where(good, margin, -margin)).mean()


def dro_v(
  rho: torch.Tensor, rewards: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
  """Its sum has the gradients of arXiv:2405.19107, (7) and (8); tau is 1."""
  policy = 0.5 * (rewards - values.detach() - rho).square()
  value = 0.5 * (rewards - values - rho.detach()).square()
  return (policy + value).mean()


def stepper(case: Case) -> tuple[Callable[[], float], int]:
  """One step, and the policy's number of parameters."""
  policy = model(case)
  nets = [list(policy.parameters())]
  optimizers: list[Any]
  if case.loss == "dro_v":
    trunk = model(case).model
    head = torch.nn.Linear(policy.config.hidden_size, 1)
    nets.append([*trunk.parameters(), *head.parameters()])
    optimizers = [
      transformers.Adafactor(
        p, lr=1e-4, relative_step=False, scale_parameter=False
      )
      for p in nets
    ]
  else:
    optimizers = [
      torch.optim.AdamW(nets[0], lr=1e-5, weight_decay=0.01, fused=True)
    ]
  rng = np.random.default_rng(0)
  rows = case.prompts * case.per_prompt

  def ids(count: int, length: int) -> torch.Tensor:
    found = rng.integers(3, MODELS[case.model]["vocab_size"], (count, length))
    return torch.tensor(found)

  def loss() -> torch.Tensor:
    prompts = ids(case.prompts, case.prompt)
    completions = ids(rows, case.completion)
    repeated = prompts.repeat_interleave(case.per_prompt, 0)
    rho = logps(policy, repeated, completions) - REFERENCE
    if case.loss == "dpo":
      return dpo(rho.view(case.prompts, 2))
    if case.loss == "kto":
      with torch.no_grad():
        other = logps(policy, repeated.roll(case.per_prompt, 0), completions)
      return kto(rho, other - REFERENCE, torch.tensor(rng.random(rows) < 0.5))
    states = trunk(input_ids=prompts).last_hidden_state[:, -1]
    values = head(states)[:, 0].repeat_interleave(case.per_prompt, 0)
    rewards = torch.tensor(rng.normal(size=rows)).float()
    return dro_v(rho, rewards, values)

  def step() -> float:
    found = loss()
    found.backward()
    for parameters, optimizer in zip(nets, optimizers, strict=True):
      torch.nn.utils.clip_grad_norm_(parameters, 1.0)
      optimizer.step()
      optimizer.zero_grad()
    return float(found.detach())

  return step, policy.num_parameters()


def main() -> None:
  """Builds the networks and serves."""
  speaker, case = protocol.Speaker(), protocol.case()
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.manual_seed(0)
  step, parameters = stepper(case)
  protocol.serve(
    step,
    speaker=speaker,
    parameters=parameters,
    versions={
      n: importlib.metadata.version(n) for n in ("torch", "transformers")
    },
  )


if __name__ == "__main__":
  main()
