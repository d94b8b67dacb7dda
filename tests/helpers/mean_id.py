"""A learner that scores by arithmetic, and rows for it."""

import numpy as np

from offalign import data, losses
from offalign.data import Record
from offalign.distributed import sharding
from offalign.reference import scoring
from offalign.types import Kind

TOKENIZER = data.make_tokenizer("byte")


def pairs(names="abcd"):
  """A pair for each name; the rejected completion is one letter longer."""
  records = [
    Record(f"say {n}", (n, n + "!"), None, None, True, f"log:{i}")
    for i, n in enumerate(names)
  ]
  return data.tokenize(data.view(records, Kind.PAIR), TOKENIZER)


class Scorer:
  """A learner whose log-prob is minus the mean id of prompt and completion.

  Attributes:
    scored: sequences scored so far, filling left out.
  """

  loss = losses.get("dpo")

  def __init__(self, monkeypatch):
    self.scored = 0
    self.mesh = sharding.one_device()
    monkeypatch.setattr(sharding, "put_batch", lambda mesh, batch: batch)

  def score(self, params, batch):
    self.scored += int((batch.weight > 0).sum())
    x = np.where(batch.prompt_mask, batch.prompts, 0).sum(-1)
    y = np.where(batch.completion_mask, batch.completions, 0).sum(-1)
    return -params * (x[:, None] + y).astype(np.float32) / 100


def attach(rows, store, scorer, wanted=None, stop=None):
  wanted = np.arange(len(rows)) if wanted is None else wanted
  return scoring.attach(
    rows, wanted, store, scorer, 1.0, batch_size=3, title="test", stop=stop
  )


def expected(rows):
  x = np.array([rows.prompts[q].sum() for q in rows.prompt_index])
  y = [[rows.completions[u].sum() for u in us] for us in rows.completion_index]
  return -((x[:, None] + np.array(y)).astype(np.float32) / 100)
