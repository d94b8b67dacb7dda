"""Times sampling against `transformers`' generate, on the same checkpoint.

  python -m benchmarks.generate_speed

A tiny random T5 and a tiny random Qwen 3 are written by `transformers` and
read by both. Both take the same prompts and make the same number of tokens a
prompt. They take turns, and the fastest turn of each counts, so that what
else the machine does weighs little. Needs the extra `parity`.

  python -m benchmarks.generate_speed --model=FOLDER --samples=4 \\
    --shortest=4 --longest=128 --prompts=64 --batch=16 --one_core

times completions of different lengths on a Hugging Face model folder: of each
prompt several, each of a length drawn between two bounds. offalign decodes
them in as many slots as `transformers` has rows in a batch, and `transformers`
runs each batch until its longest completion is done, as its `generate` does.

Above 300 lines: both tables take the same models, clock and turns.
"""

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offalign.data.text.ragged import Ragged
from offalign.generation import slots
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
  parser.add_argument("--model", help="a Hugging Face folder; default: random")
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--prompt", type=int, default=32, help="tokens")
  parser.add_argument("--new", type=int, default=64, help="tokens")
  parser.add_argument("--vocab", type=int, default=32128)
  parser.add_argument("--turns", type=int, default=5)
  parser.add_argument("--prompts", type=int, default=64, help="with --samples")
  parser.add_argument("--samples", type=int, help="completions of a prompt")
  parser.add_argument("--shortest", type=int, default=4, help="tokens")
  parser.add_argument("--longest", type=int, default=128, help="tokens")
  parser.add_argument(
    "--one_core", action="store_true", help="and count its CPU seconds"
  )
  args = parser.parse_args()
  clock = time.perf_counter
  if args.one_core:
    clock = time.process_time
    _keep_to_one_core()
  said = f"fastest of {args.turns} turns" + (
    ", CPU seconds of one core" if args.one_core else ""
  )
  if args.samples:
    _different_lengths(args, clock, said)
    return
  print(
    f"{args.batch} prompts of {args.prompt}, {args.new} new tokens each; "
    f"tokens/s, {said}\n\n"
    "| model | drawn | offalign | transformers | ratio |\n"
    "| :--- | :--- | ---: | ---: | ---: |"
  )
  for family in (args.model,) if args.model else ("T5", "Qwen 3"):
    theirs, model, params = _load(family, args.vocab)
    prompts = np.random.default_rng(0).integers(
      2, model.vocab_size, (args.batch, args.prompt), dtype=np.int32
    )
    for name, choice in CHOICES.items():
      runs = (
        _ours(model, params, prompts, choice, args.new),
        _theirs(theirs, prompts, choice, args.new),
      )
      for run in runs:
        run()  # compilation, caches
      best = _fastest(runs, args.turns, clock)
      a, b = (args.batch * args.new / x for x in best)
      print(
        f"| {_name(family)} | {name} | {a:,.0f} | {b:,.0f} | {a / b:.2f} |",
        flush=True,
      )


def _keep_to_one_core() -> None:
  import torch

  torch.set_num_threads(1)
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _different_lengths(
  args: argparse.Namespace, clock: Callable[[], float], said: str
) -> None:
  """Times completions of different lengths, `--samples` of each prompt."""
  theirs, model, params = _load(args.model or "Qwen 3", args.vocab)
  rng = np.random.default_rng(0)
  prompts = Ragged.of(
    [
      rng.integers(2, model.vocab_size, n)
      for n in rng.integers(args.prompt // 4, args.prompt + 1, args.prompts)
    ]
  )
  which = np.arange(args.prompts).repeat(args.samples)
  new = rng.integers(args.shortest, args.longest + 1, len(which))
  runs = (
    _ours_of_lengths(model, params, prompts, which, new, args.batch),
    _theirs_of_lengths(theirs, prompts, new, args.batch, args.samples),
  )
  runs[0](slice(None), 1)  # compilation, caches
  runs[1](slice(0, args.batch), 2)
  print(
    f"{args.prompts} prompts of {args.prompt // 4} to {args.prompt} tokens, "
    f"{args.samples} completions of each, of {args.shortest} to {args.longest} "
    f"tokens ({new.sum():,}), {args.batch} at a time, at temperature 1; "
    f"{said}\n\n"
    "| model | offalign, tokens/s | transformers, tokens/s | ratio |\n"
    "| :--- | ---: | ---: | ---: |",
    flush=True,
  )
  every = slice(None)
  whole = [functools.partial(run, every) for run in runs]
  a, b = (new.sum() / x for x in _fastest(whole, args.turns, clock))
  name = _name(args.model or "Qwen 3")
  print(f"| {name} | {a:,.1f} | {b:,.1f} | {a / b:.2f} |", flush=True)


def _name(family: str) -> str:
  return Path(family).name


def _ours_of_lengths(
  model: Any,
  params: Any,
  prompts: Ragged,
  which: np.ndarray,
  new: np.ndarray,
  batch: int,
) -> Callable[..., None]:
  """A program that makes some of the completions, in slots."""

  def run(some: slice, most: int = 1 << 30) -> None:
    lengths = np.minimum(new[some], most)
    found = slots.complete(
      model,
      params,
      prompts,
      which[some],
      seeds=np.arange(len(which))[some],
      slots=batch,
      max_new_tokens=int(new.max()),
      limits=lengths,
      eos_id=[model.vocab_size - 1],
    )
    # That token may be drawn, but hardly ever is.
    made = sum(len(x.tokens) for x in found)
    assert made > 0.98 * lengths.sum(), made

  return run


def _theirs_of_lengths(
  model: Any, prompts: Ragged, new: np.ndarray, batch: int, samples: int
) -> Callable[..., None]:
  """The same with `transformers`, in batches of prompts with all samples."""
  import torch

  each = batch // samples
  assert each * samples == batch, "--samples must divide --batch"

  def run(some: slice, most: int = 1 << 30) -> None:
    lengths = np.minimum(new[some], most)
    for begin in range(0, len(lengths), batch):
      longest = int(lengths[begin : begin + batch].max())
      rows = range(len(prompts))[begin // samples :][:each]
      width = max(len(prompts[i]) for i in rows)
      ids = torch.zeros(len(rows), width, dtype=torch.long)
      mask = torch.zeros_like(ids)
      for k, i in enumerate(rows):
        ids[k, width - len(prompts[i]) :] = torch.tensor(prompts[i])
        mask[k, width - len(prompts[i]) :] = 1
      with torch.no_grad():
        made = model.generate(
          ids,
          attention_mask=mask,
          num_return_sequences=samples,
          min_new_tokens=longest,
          max_new_tokens=longest,
          pad_token_id=0,
          do_sample=True,
          top_k=0,
        )
      assert made.shape[0] == len(rows) * samples

  return run


def _load(family: str, vocab: int) -> tuple[Any, Any, Any]:
  """A model of `transformers`, and the same here: model and params."""
  if family in ("T5", "Qwen 3"):
    theirs = _build(family, vocab)
    with tempfile.TemporaryDirectory() as folder:
      theirs.save_pretrained(folder)
      return (theirs, *hf.load(Path(folder)))
  import torch
  import transformers

  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    family, dtype=torch.float32
  )
  return (theirs.eval(), *hf.load(Path(family)))


def _fastest(
  runs: Sequence[Callable[[], None]], turns: int, clock: Callable[[], float]
) -> list[float]:
  """Seconds of the fastest turn of each; they take turns."""
  best = [float("inf")] * len(runs)
  for _ in range(turns):
    for i, run in enumerate(runs):
      start = clock()
      run()
      best[i] = min(best[i], clock() - start)
  return best


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
