"""Log-probs of logged completions under a policy."""

import numpy as np

from offalign.data import Record, Row, Tokenizer, View, tokenize
from offalign.data.batches import vocabulary
from offalign.data.reading.records import count
from offalign.data.views.view import ViewSummary
from offalign.distributed import hosts, sharding
from offalign.learner import Learner
from offalign.models.base import Model
from offalign.reference.scoring import distinct_logps
from offalign.types import Kind, Params

_ANY_LOSS = "sft"  # log-probs are the model's, whatever the loss


def logps(
  model: Model,
  params: Params,
  tokenizer: Tokenizer,
  records: tuple[Record, ...],
  *,
  max_prompt: int | None,
  max_completion: int | None,
  batch_size: int,
) -> np.ndarray:
  """Computes the log-probs of completions, summed; see `Policy.logps`.

  Args:
    model: the policy's.
    params: the policy's, on the first device.
    tokenizer: the policy's.
    records: N records with prompts and completions.
    max_prompt: tokens of a prompt that are kept, the last ones; None = all.
    max_completion: tokens of a completion that are kept, the first ones.
    batch_size: completions scored at a time.

  Returns:
    float32 [N, K], in nats; NaN where a record has fewer than K.

  Raises:
    UserError: for a text of which no token is left.
  """
  singles = tuple(
    Row(record.prompt, (text,), None, None, (record.source,))
    for record in records
    for text in record.completions
  )
  rows = tokenize(
    View(Kind.SINGLE, singles, ViewSummary({"rows": len(singles)}, ())),
    tokenizer,
    max_prompt=max_prompt,
    max_completion=max_completion,
  )
  vocabulary.check_rows(rows, tokenizer, model.vocab_size, model.spec)
  for noun, cut, kept in (
    ("prompt", rows.cut_prompts, f"last {max_prompt}"),
    ("completion", rows.cut_completions, f"first {max_completion}"),
  ):
    if cut:
      hosts.say(
        f"{count(cut, noun)} cut to the {kept} tokens, as in training: their "
        "log-probs are of what is left"
      )
  learner = Learner(_ANY_LOSS, model, mesh=sharding.one_device())
  each = np.arange(len(rows.completions))
  size = min(batch_size, len(each))
  found = distinct_logps(rows, each, learner, params, batch_size=size)
  flat = found[rows.completion_index[:, 0]]
  counts = np.array([len(record.completions) for record in records])
  out = np.full((len(records), counts.max()), np.nan, np.float32)
  out[np.arange(out.shape[1]) < counts[:, None]] = flat
  return out
