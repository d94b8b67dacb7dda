"""TRL's own DPO trainer on one GPU, a process of its own.

It gets its case as JSON, trains, and prints the seconds of each step as JSON.
The trainer runs unchanged: a callback stops the clock between its steps.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
import time
from typing import Any

import torch
import transformers
import trl

from benchmarks.throughput import worker_trl
from benchmarks.throughput.cases import VOCAB, Case

WARM, STEPS = 4, 16


class Clock(transformers.TrainerCallback):
  """Times steps after the first few, and ends the training."""

  def __init__(self) -> None:
    """Has timed nothing yet."""
    self.seconds: list[float] = []
    self._steps, self._began = 0, 0.0

  def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
    """Starts the clock."""
    _wait()
    self._began = time.perf_counter()

  def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
    """Stops it, and the training after `STEPS`."""
    _wait()
    self._steps += 1
    if self._steps > WARM:
      self.seconds.append(time.perf_counter() - self._began)
    control.should_training_stop = len(self.seconds) >= STEPS


def _wait() -> None:
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def main() -> None:
  """Trains and prints."""
  out = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what libraries print
  given = json.loads(sys.argv[1])
  tokens, liger = given["tokens"], given["mode"] == "liger"
  shape = {k: v for k, v in given["config"].items() if k != "architectures"}
  config = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
  kind, weights = transformers.AutoModelForCausalLM, given["weights"]
  if weights is None:  # the trainer reads the reference from a folder
    weights = tempfile.mkdtemp()
    kind.from_config(config).save_pretrained(weights)
  model = kind.from_pretrained(weights)
  case = Case(
    "dpo", "", tokens["prompts"], 2, tokens["prompt"], tokens["completion"]
  )
  on_gpu, words = torch.cuda.is_available(), min(VOCAB, config.vocab_size)
  options = {
    "output_dir": tempfile.mkdtemp(),
    "per_device_train_batch_size": case.prompts,
    "max_steps": WARM + STEPS,
    "learning_rate": 1e-5,
    "optim": "adamw_torch_fused",
    "lr_scheduler_type": "constant",
    "beta": 0.1,
    "max_length": case.prompt + case.completion,
    "precompute_ref_log_probs": not liger,
    "use_liger_kernel": liger,
    "gradient_checkpointing": False,
    "bf16": on_gpu,
    "use_cpu": not on_gpu,
    "save_strategy": "no",
    "logging_steps": 10,
    "report_to": [],
    "disable_tqdm": True,
  }
  clock, trainer, settings = Clock(), trl.DPOTrainer, trl.DPOConfig
  trainer(
    model=model.float(),
    args=settings(**options),
    train_dataset=worker_trl.rows(case, words),
    processing_class=worker_trl.tokenizer(words),
    callbacks=[clock],
  ).train()
  names = ("trl", "torch", "transformers", *(["liger-kernel"] * liger))
  answer = {
    "seconds": clock.seconds,
    "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0,
    "versions": {n: importlib.metadata.version(n) for n in names},
  }
  out.write(json.dumps(answer) + "\n")
  out.flush()


if __name__ == "__main__":
  main()
