"""Attention at 4k, 8k and 32k tokens, by each path that the learner has."""

import dataclasses
import pathlib
import typing
from typing import Any

import jax

from benchmarks.gpu import page, sizes, steps
from benchmarks.gpu.flops import Tokens
from benchmarks.gpu.page import Page
from benchmarks.gpu.sizes import Task, Way
from offalign.errors import UserError
from offalign.learner import LearnerConfig

LAYERS, VOCAB = 2, 4096
"""Few layers and a small head, so that attention is most of the step."""


def paths() -> tuple[str, ...]:
  """Ways of computing attention: those of `LearnerConfig.attention`.

  Without those of other devices. Where the learner has no such option,
  attention is dense.
  """
  hint = typing.get_type_hints(LearnerConfig).get("attention")
  left_out = {"auto"} if jax.default_backend() == "tpu" else {"auto", "splash"}
  found = [name for name in _named(hint) if name not in left_out]
  return tuple(found) or ("dense",)


def _named(hint: Any) -> list[str]:
  """The strings of a Literal, or of those in a union."""
  if typing.get_origin(hint) is typing.Literal:
    return [name for name in typing.get_args(hint) if isinstance(name, str)]
  return [name for part in typing.get_args(hint) for name in _named(part)]


def options(path: str) -> dict[str, Any]:
  """The options of `LearnerConfig` that choose a path."""
  fields = {field.name for field in dataclasses.fields(LearnerConfig)}
  return {"attention": path} if "attention" in fields else {}


def task(length: int, tiny: bool) -> Task:
  """A step of DPO on one pair; a quarter of the tokens is its completions'."""
  config = sizes.TINY if tiny else sizes.QWEN
  if not tiny:
    config = config | {
      "num_hidden_layers": LAYERS,
      "max_window_layers": LAYERS,
      "vocab_size": VOCAB,
    }
  tokens = Tokens(1, 2, length * 3 // 4, length // 4)
  return Task(f"{length:,}", "dpo", config, tokens, (Way("none"),), "adam")


def run(report: Page, tiny: bool, out: pathlib.Path) -> None:
  """Times a step of each length by each path, and says what fits."""
  del out
  report.say(
    f"A step of DPO on one pair, by layers of {sizes.DECODER} "
    f"({LAYERS} of them, {VOCAB:,} tokens in the vocabulary), bfloat16. GB are "
    "those of the compiled step, with its arguments."
  )
  if len(paths()) == 1:
    report.say(f"There is one path here: {paths()[0]}.")
  found: dict[str, Any] = {}
  rows = []
  for length in sizes.lengths(tiny):
    for path in paths():
      name = f"{length:,} tokens, {path}"
      try:
        got = steps.measure(task(length, tiny), turns=3, **options(path))
      except UserError as error:
        found[name] = str(error)
        rows.append([name, "does not fit", "–", "–", "–"])
        continue
      found[name] = dataclasses.asdict(got)
      mfu = "–" if got.mfu is None else f"{got.mfu:.0%}"
      rows.append(
        [
          name,
          f"{1e3 * got.median:.1f}",
          f"{got.program_gb:.2f}",
          mfu,
          page.shares(dict(list(got.kinds.items())[:3])),
        ]
      )
      print(f"{name}: {1e3 * got.median:.1f} ms", flush=True)
  head = ["length, path", "step, ms", "GB", "MFU", "where the time goes"]
  report.add("attention", found, page.table(head, rows))
