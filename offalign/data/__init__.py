"""Data: files -> records -> a view for a loss -> tokens -> batches.

`load` reads any accepted form and checks every row. `view` makes the rows
that a loss takes. `tokenize` turns them into tokens, and `batch` with a
`Sampler` (or `eval_batches`) into the learner's batches. Each step says in
sentences what it did.

Names are imported when they are first used: reading and checking data need
no jax, whose import takes seconds.
"""

from typing import TYPE_CHECKING

from offalign import lazy

if TYPE_CHECKING:
  from offalign.data.batches.batch import (
    Sampler,
    batch,
    eval_batches,
    eval_rows,
  )
  from offalign.data.batches.mixture import Mixture, MixtureSampler
  from offalign.data.batches.reward_scales import (
    RewardScale,
    RewardScales,
    normalize,
  )
  from offalign.data.batches.reward_scales import read as read_scales
  from offalign.data.batches.token_rows import TokenRows, tokenize
  from offalign.data.reading.records import Message, Problem, Prompt, Record
  from offalign.data.reading.table import Table, load, split_by_prompt
  from offalign.data.text.tokenizer import Tokenizer
  from offalign.data.text.tokenizer import make as make_tokenizer
  from offalign.data.views.options import ViewOptions
  from offalign.data.views.provenance import Origin, origins
  from offalign.data.views.rows import Row
  from offalign.data.views.view import View, view
else:
  __getattr__, __dir__ = lazy.names(
    __name__,
    {
      "batches.batch": ("Sampler", "batch", "eval_batches", "eval_rows"),
      "batches.mixture": ("Mixture", "MixtureSampler"),
      "views.provenance": ("Origin", "origins"),
      "reading.records": ("Message", "Problem", "Prompt", "Record"),
      "views.rows": ("Row",),
      "batches.reward_scales": (
        "RewardScale",
        "RewardScales",
        "normalize",
        "read_scales",
      ),
      "reading.table": ("Table", "load", "split_by_prompt"),
      "text.tokenizer": ("Tokenizer", "make_tokenizer"),
      "batches.token_rows": ("TokenRows", "tokenize"),
      "views.options": ("ViewOptions",),
      "views.view": ("View", "view"),
    },
    renamed={"make_tokenizer": "make", "read_scales": "read"},
  )

__all__ = [
  "Message",
  "Mixture",
  "MixtureSampler",
  "Origin",
  "Problem",
  "Prompt",
  "Record",
  "RewardScale",
  "RewardScales",
  "Row",
  "Sampler",
  "Table",
  "TokenRows",
  "Tokenizer",
  "View",
  "ViewOptions",
  "batch",
  "eval_batches",
  "eval_rows",
  "load",
  "make_tokenizer",
  "normalize",
  "origins",
  "read_scales",
  "split_by_prompt",
  "tokenize",
  "view",
]
