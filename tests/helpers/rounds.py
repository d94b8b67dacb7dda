"""Small runs in rounds, which several test files share."""

import json
import pathlib

import runs

from offalign import Run
from offalign.errors import UserError

PROMPTS = [f"p{i}" for i in range(16)]


def ascii_share(prompt, text):
  """A reward that a new model on bytes gets half of: the share of ASCII."""
  del prompt
  return sum(c.isascii() for c in text) / max(len(text), 1)


def options(out, loss="rloo(beta=0.0)", **changes):
  """Options of a run of some seconds; `grow` and `data` are merged in."""
  grow = {
    "prompts": PROMPTS,
    "score": ascii_share,
    "samples": 4,
    "rounds": 3,
    "max_new_tokens": 5,
    "eval_prompts": 4,
  }
  given = {
    "loss": loss,
    "out": str(out),
    "model": runs.DECODER,
    "tokenizer": "byte",
    "batch_size": 8,
    "log_every": 2,
    "eval_every": 2,
    "save_every": 2,
    "eval_samples": 0,
    "optimizer": {"learning_rate": 3e-3, "warmup_steps": 0},
    "data": {"eval_fraction": 0.25},
  }
  for group in ("data", "optimizer"):
    given[group] = given[group] | changes.pop(group, {})
  grow |= changes.pop("grow", {})
  given["grow"] = {k: v for k, v in grow.items() if v is not None}
  return given | changes


def train(out, loss="rloo(beta=0.0)", **changes):
  """The run, trained."""
  run = Run(**options(out, loss, **changes))
  run.train(verbose=False)
  return run


def of_rounds(folder):
  """The lines of metrics that begin rounds."""
  return [line for line in runs.metrics(folder) if "round" in line]


def said(folder, number):
  """The lines of a round's samples.jsonl."""
  path = pathlib.Path(folder) / "rounds" / str(number) / "samples.jsonl"
  return [json.loads(line) for line in path.read_text().splitlines()]


def refused(tmp_path, loss="rloo(beta=0.0)", **changes):
  """The sentence with which a run in rounds is refused, in Python's words."""
  try:
    Run(**options(tmp_path / "refused", loss, **changes))
  except UserError as error:
    assert not (tmp_path / "refused").exists()
    return str(error)
  raise AssertionError("it was not refused")
