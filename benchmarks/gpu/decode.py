"""Decoding: tokens a second of sampling, by size of the batch."""

import pathlib
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import devices, flops, page, sizes, steps
from benchmarks.gpu.page import Page
from offalign.generation.sampling import sample

TURNS = 3


def run(
  report: Page, tiny: bool, out: pathlib.Path, weights: str | None
) -> None:
  """Times sampling at temperature 1, in bfloat16."""
  del out
  (task,) = (each.of(weights) for each in sizes.dpo(tiny))
  model, params = steps.weights_of(task)
  params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
  prompt, new = (8, 4) if tiny else (512, 128)
  name = jax.devices()[0].device_kind
  known = devices.rates(name)
  read = sum(x.nbytes for x in jax.tree.leaves(params))
  report.say(
    f"{task.name}, bfloat16, prompts of {prompt} tokens, {new} new ones each "
    "at temperature 1. The share of the memory's rate counts the weights, read "
    "once for each new token of a batch."
  )
  if known is None:
    report.say(devices.unknown(name))
  rows, found = [], {}
  for size in (2,) if tiny else (1, 16, 64):
    seconds, written = _measure(model, params, task.config, size, prompt, new)
    per_token = seconds / new
    work = 2 * flops.parameters(model) * size * (new + prompt)
    share = "–" if known is None else f"{read / per_token / known.bytes:.0%}"
    mfu = devices.mfu(work, seconds, name)
    found[str(size)] = {
      "seconds": seconds,
      "tokens_per_second": written / seconds,
      "mfu": mfu,
    }
    rows.append(
      [
        str(size),
        f"{written / seconds:,.0f}",
        f"{1e3 * per_token:.2f}",
        share,
        "–" if mfu is None else f"{mfu:.1%}",
      ]
    )
  head = ["batch", "tokens/s", "ms a token", "of the memory's rate", "MFU"]
  report.add("decode", found, page.table(head, rows))
  held = devices.memory()
  if "peak" in held:
    report.say(f"At most {held['peak']:.1f} GB were held.")


def _measure(
  model: Any, params: Any, config: dict[str, Any], size: int, p: int, new: int
) -> tuple[float, int]:
  """Median seconds, and how many tokens were written."""
  rng = np.random.default_rng(size)
  prompts = rng.integers(3, config["vocab_size"], (size, p), dtype=np.int32)
  seconds, written = [], 0
  for turn in range(TURNS + 1):
    began = time.perf_counter()
    made = sample(
      model,
      params,
      prompts,
      np.ones_like(prompts, bool),
      seeds=np.arange(size) + turn * size,
      max_new_tokens=new,
      eos_id=2,
    )
    written = int(np.asarray(made.mask).sum())
    seconds.append(time.perf_counter() - began)
  return statistics.median(seconds[1:]), written
