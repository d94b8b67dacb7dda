"""TRL's own trainers, at the settings that are fastest on a CPU.

The trainer runs unchanged: a callback stops the clock between its steps. Its
reference log-probs are precomputed; THROUGHPUT_COMPILE=1 compiles the model.
Texts are words of a word-level tokenizer, so lengths are exact.
"""

import importlib.metadata
import os
import tempfile
import time
from typing import Any

import datasets
import numpy as np
import tokenizers
import torch
import transformers
import trl

from benchmarks.throughput import protocol
from benchmarks.throughput.cases import MODELS, VOCAB, Case

BATCHES = 4  # distinct ones; their reference pass is not timed


def tokenizer(vocab_size: int = VOCAB) -> Any:
  """Word i is token i."""
  names = ["<pad>", "<s>", "</s>"]
  vocab = {w: i for i, w in enumerate(names)}
  vocab |= {f"w{i}": i for i in range(len(names), vocab_size)}
  words = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocab, unk_token="<pad>")
  )
  words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="<pad>", eos_token="</s>"
  )


def rows(case: Case, vocab_size: int = VOCAB) -> datasets.Dataset:
  """Random words; the trainer adds the end of every completion."""
  rng = np.random.default_rng(0)

  def text(length: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(3, vocab_size, length))

  def some() -> list[dict[str, Any]]:
    prompt = text(case.prompt) + " "
    if case.loss == "dpo":
      a, b = (text(case.completion - 1) + " " for _ in range(2))
      return [{"prompt": prompt, "chosen": a, "rejected": b}]
    return [
      {
        "prompt": prompt,
        "completion": text(case.completion - 1) + " ",
        "label": bool(rng.random() < 0.5),
      }
      for _ in range(case.per_prompt)
    ]

  return datasets.Dataset.from_list(
    [row for _ in range(BATCHES * case.prompts) for row in some()]
  )


class Clock(transformers.TrainerCallback):
  """Lets the trainer go on when the suite asks for steps."""

  def __init__(self, speaker: protocol.Speaker, about: dict[str, Any]):
    """Takes what it says when ready."""
    self._speaker, self._about = speaker, about
    self._warm, self._left, self._steps = 3, 0, 0
    self._began = 0.0

  def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
    """Waits for a request, unless one is being served."""
    if self._warm:
      self._warm -= 1
      if self._warm:
        return
      self._speaker.ready(**self._about)
    if self._left == 0:
      self._left = self._speaker.wanted()
      self._began = time.perf_counter()

  def on_step_end(self, *args: Any, **kwargs: Any) -> None:
    """Answers when the requested steps are made."""
    if self._left:
      self._left -= 1
      if self._left == 0:
        self._speaker.done(time.perf_counter() - self._began, float("nan"))


def main() -> None:
  """Builds the trainer, and trains until nobody asks."""
  speaker, case = protocol.Speaker(), protocol.case()
  threads = len(os.sched_getaffinity(0))
  torch.set_num_threads(threads)
  torch.manual_seed(0)
  compiled = os.environ.get("THROUGHPUT_COMPILE") == "1"
  options = {
    "output_dir": tempfile.mkdtemp(),
    "per_device_train_batch_size": case.prompts
    * (case.per_prompt if case.loss == "kto" else 1),
    "num_train_epochs": 10_000,
    "learning_rate": 1e-5,
    "weight_decay": 0.01,
    "optim": "adamw_torch_fused",
    "lr_scheduler_type": "constant",
    "beta": 0.1,
    "max_length": case.prompt + case.completion,
    "precompute_ref_log_probs": True,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "torch_compile": compiled,
    "save_strategy": "no",
    "logging_steps": 10,
    "report_to": [],
    "disable_tqdm": True,
  }
  trainer: Any = trl.KTOTrainer if case.loss == "kto" else trl.DPOTrainer
  settings: Any = trl.KTOConfig if case.loss == "kto" else trl.DPOConfig
  names = ("trl", "torch", "transformers")
  about: dict[str, Any] = {
    "versions": {n: importlib.metadata.version(n) for n in names},
    "threads": threads,
    "compiled": compiled,
  }
  model: Any
  if case.weights:
    model = transformers.AutoModelForCausalLM.from_pretrained(
      case.weights, dtype=torch.float32
    )
  else:
    config = transformers.LlamaConfig(**MODELS[case.model])
    model = transformers.LlamaForCausalLM(config)
  about["parameters"] = model.num_parameters()
  trainer(
    model=model,
    args=settings(**options),
    train_dataset=rows(case),
    processing_class=tokenizer(),
    callbacks=[Clock(speaker, about)],
  ).train()


if __name__ == "__main__":
  main()
