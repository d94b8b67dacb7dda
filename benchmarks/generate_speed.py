"""Times sampling against `transformers`' generate, on the same checkpoint.

  python -m benchmarks.generate_speed

A tiny random T5 and a tiny random Qwen 3 are written by `transformers` and
read by both. Both take the same prompts and make the same number of tokens a
prompt. They take turns, and the fastest turn of each counts, so that what
else the machine does weighs little. Needs the extra `parity`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offalign.generation.sampling import sample
from offalign.models import hf

CHOICES: dict[str, dict[str, Any]] = {
  "greedy": {"temperature": 0.0},
  "temperature 1": {"temperature": 1.0},
  "top_k=50, top_p=0.9": {"top_k": 50, "top_p": 0.9},
}
T5: dict[str, Any] = {
  "d_model": 256,
  "d_kv": 64,
  "d_ff": 1024,
  "num_layers": 4,
  "num_heads": 4,
  "feed_forward_proj": "gated-gelu",
  "decoder_start_token_id": 0,
  "eos_token_id": 1,
}
QWEN3: dict[str, Any] = {
  "hidden_size": 256,
  "head_dim": 64,
  "intermediate_size": 1024,
  "num_hidden_layers": 4,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "tie_word_embeddings": True,
  "bos_token_id": None,
  "eos_token_id": 1,
}


def main() -> None:
  """Prints tokens/s of both, and their ratio, for each way of drawing."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--prompt", type=int, default=32, help="tokens")
  parser.add_argument("--new", type=int, default=64, help="tokens")
  parser.add_argument("--vocab", type=int, default=32128)
  parser.add_argument("--turns", type=int, default=5)
  args = parser.parse_args()
  prompts = np.random.default_rng(0).integers(
    2, args.vocab, (args.batch, args.prompt), dtype=np.int32
  )
  print(
    f"{args.vocab:,} tokens, {args.batch} prompts of {args.prompt}, "
    f"{args.new} new tokens each; tokens/s, fastest of {args.turns} turns\n\n"
    "| model | drawn | offalign | transformers | ratio |\n"
    "| :--- | :--- | ---: | ---: | ---: |"
  )
  for family in ("T5", "Qwen 3"):
    theirs = _build(family, args.vocab)
    with tempfile.TemporaryDirectory() as folder:
      theirs.save_pretrained(folder)
      model, params = hf.load(Path(folder))
    for name, choice in CHOICES.items():
      runs = (
        _ours(model, params, prompts, choice, args.new),
        _theirs(theirs, prompts, choice, args.new),
      )
      for run in runs:
        run()  # compilation, caches
      times = [[_seconds(run) for run in runs] for _ in range(args.turns)]
      a, b = (args.batch * args.new / min(x) for x in zip(*times, strict=True))
      print(
        f"| {family} | {name} | {a:,.0f} | {b:,.0f} | {a / b:.2f} |", flush=True
      )


def _seconds(run: Callable[[], Any]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def _build(family: str, vocab: int) -> Any:
  import torch
  import transformers

  torch.manual_seed(0)
  architecture: Any = transformers.Qwen3ForCausalLM
  config: Any = transformers.Qwen3Config(vocab_size=vocab, **QWEN3)
  if family == "T5":
    architecture = transformers.T5ForConditionalGeneration
    config = transformers.T5Config(vocab_size=vocab, **T5)
  return architecture(config).eval()


def _ours(
  model: Any, params: Any, prompts: np.ndarray, choice: dict[str, Any], new: int
) -> Callable[[], Any]:
  def run() -> None:
    samples = sample(
      model,
      params,
      prompts,
      np.ones_like(prompts, bool),
      seeds=np.arange(len(prompts)),
      max_new_tokens=new,
      eos_id=1,
      **choice,
    )
    jax.block_until_ready(samples)

  return run


def _theirs(
  model: Any, prompts: np.ndarray, choice: dict[str, Any], new: int
) -> Callable[[], Any]:
  import torch

  ids = torch.tensor(prompts)
  options: dict[str, Any] = {"do_sample": False}
  if choice.get("temperature") != 0:
    options = {"top_k": 0, **choice, "do_sample": True}

  def run() -> None:
    with torch.no_grad():
      made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=new,
        max_new_tokens=new,
        pad_token_id=0,
        **options,
      )
    kept = made.shape[1] - (
      0 if model.config.is_encoder_decoder else len(ids[0])
    )
    assert kept - model.config.is_encoder_decoder == new

  return run


if __name__ == "__main__":
  main()
