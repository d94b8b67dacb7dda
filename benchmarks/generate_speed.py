"""Times sampling against `transformers`' generate, on the same tiny T5.

  python -m benchmarks.generate_speed

Both models have one shape and random weights (not the same ones), take the
same prompts and make the same number of tokens a prompt: no token ends one.
The two take turns, and the fastest turn of each counts, so that what else
the machine does weighs little. Needs the extra `parity`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from offalign import models
from offalign.evals.sampling import sample

WIDTH, LAYERS, HEADS, HEAD_DIM, RATIO = 256, 4, 4, 64, 4
CHOICES: dict[str, dict[str, Any]] = {
  "greedy": {"temperature": 0.0},
  "temperature 1": {"temperature": 1.0},
  "top_k=50, top_p=0.9": {"top_k": 50, "top_p": 0.9},
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
  ours, theirs = _ours(args, prompts), _transformers(args, prompts)
  print(
    f"T5 of {LAYERS} + {LAYERS} layers, width {WIDTH}, {args.vocab:,} tokens; "
    f"{args.batch} prompts of {args.prompt}, {args.new} new tokens each"
  )
  for name, choice in CHOICES.items():
    run_ours, run_theirs = ours(choice), theirs(choice)
    run_ours(), run_theirs()  # compilation, caches
    times = [
      (_seconds(run_ours), _seconds(run_theirs)) for _ in range(args.turns)
    ]
    tokens = args.batch * args.new
    a, b = (tokens / min(column) for column in zip(*times, strict=True))
    print(
      f"  {name:20} offalign {a:8,.0f} tokens/s, transformers {b:8,.0f}, "
      f"ratio {a / b:.2f}"
    )


def _seconds(run: Callable[[], Any]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def _ours(
  args: argparse.Namespace, prompts: np.ndarray
) -> Callable[[dict[str, Any]], Callable[[], Any]]:
  model = models.make(
    f"t5(width={WIDTH}, layers={LAYERS}, heads={HEADS}, head_dim={HEAD_DIM}, "
    f"mlp_ratio={RATIO})",
    vocab_size=args.vocab,
  )
  params = jax.jit(model.init)(jax.random.key(0))
  # A logit of 0 among 32,128 of variance 1: an end that hardly ever comes.
  params["head"]["kernel"] = params["head"]["kernel"].at[:, 1].set(0)

  def choose(choice: dict[str, Any]) -> Callable[[], Any]:
    def run() -> None:
      samples = sample(
        model,
        params,
        prompts,
        np.ones_like(prompts, bool),
        seeds=np.arange(args.batch),
        max_new_tokens=args.new,
        eos_id=1,
        **choice,
      )
      jax.block_until_ready(samples)

    return run

  return choose


def _transformers(
  args: argparse.Namespace, prompts: np.ndarray
) -> Callable[[dict[str, Any]], Callable[[], Any]]:
  import torch
  import transformers

  config = transformers.T5Config(
    vocab_size=args.vocab,
    d_model=WIDTH,
    d_kv=HEAD_DIM,
    d_ff=RATIO * WIDTH,
    num_layers=LAYERS,
    num_heads=HEADS,
    feed_forward_proj="gated-gelu",
  )
  model = transformers.T5ForConditionalGeneration(config).eval()
  model.generation_config.eos_token_id = None
  ids = torch.tensor(prompts)

  def choose(choice: dict[str, Any]) -> Callable[[], Any]:
    options: dict[str, Any] = {"do_sample": False}
    if choice.get("temperature") != 0:
      options = {"top_k": 0, **choice, "do_sample": True}

    def run() -> None:
      with torch.no_grad():
        made = model.generate(
          ids,
          max_new_tokens=args.new,
          decoder_start_token_id=0,
          **options,
        )
      assert made.shape == (args.batch, args.new + 1)

    return run

  return choose


if __name__ == "__main__":
  main()
