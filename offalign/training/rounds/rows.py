"""Make a round's rows of its samples: tokens as drawn, never through text.

The views of `offalign.data` choose, pair, group and label the samples as they
do completions of a log. They are given a name for each sample in place of its
text, so that two samples of the same tokens stay two, and the tokens and
log-probs are put into the rows as they were drawn.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from offalign import data
from offalign.config.data import DataConfig
from offalign.config.grow import GrowConfig, Threshold, parse_label
from offalign.data import Record, TokenRows, ViewOptions
from offalign.data.reading.token_text import TokenText
from offalign.data.text.ragged import Ragged
from offalign.data.views.rows import Needs
from offalign.errors import UserError, marked, option, within
from offalign.losses import Loss
from offalign.training.rounds.kept import Samples
from offalign.types import Kind


def options(
  config: DataConfig, grow: GrowConfig, loss: Loss, threshold: float | None
) -> ViewOptions:
  """The options of a round's view.

  Args:
    config: options of views that were given for the data.
    grow: those of rounds.
    loss: decides which of them apply.
    threshold: the score that the samples of this part are to be above; for
      losses that read labels, the desirable ones.
  """
  fields = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(ViewOptions)
  }
  rule, above = parse_label(grow.label)
  if grow.label is not None:
    fields |= {"label_rule": rule, "label_threshold": above}
  elif threshold is not None and Needs.of(loss.needs).labels:
    fields["label_threshold"] = threshold
  if loss.kind is Kind.GROUP and fields["group_size"] is None:
    fields["group_size"] = grow.each
  return ViewOptions(**fields)


def a_prompt(options: ViewOptions, loss: Loss, each: int) -> int:
  """How many rows K samples of a prompt make, where all of them are used."""
  if loss.kind is Kind.GROUP:
    return max(each // (options.group_size or each), 1)
  if loss.kind is Kind.PAIR:
    if options.pairs in (None, "all"):
      return max(each * (each - 1) // 2, 1)
    alone = options.pairs in ("best_worst", "best_random")
    return 1 if alone else max(each // 2, 1)
  if options.best_of_n is not None:
    return 1
  if options.top_fraction is not None:
    return max(round(each * options.top_fraction), 1)
  return each


def make(
  samples: Samples,
  prompts: Ragged,
  loss: Loss,
  chosen: ViewOptions,
  *,
  seed: int,
  name: str,
  pad_id: int,
  lengths: tuple[int, int],
  threshold: float | None = None,
) -> TokenRows:
  """Makes the rows of a part of a round.

  Args:
    samples: n prompts with K completions; one without a score is left out,
      and so are what it would be compared or grouped with.
    prompts: tokens of all prompts of the run.
    loss: decides the view.
    chosen: of the view, see `options`.
    seed: of what the view draws.
    name: of the round, for messages.
    pad_id: of the tokenizer.
    lengths: P and T, the same in all rounds.
    threshold: of a loss that reads no labels, the score that the samples are
      to be above; others are left out.

  Raises:
    UserError: where no row is left.
  """
  each = samples.scores.shape[1]
  drawn = samples.drawn
  # An engine may not tell what it drew with.
  known = not np.isnan(drawn.token_logps.tokens).any()
  named = [
    TokenText(f"{i // each}/{i % each}", ids, logps if known else None)
    for i, (ids, logps) in enumerate(
      zip(drawn.tokens, drawn.token_logps, strict=True)
    )
  ]
  scored = [np.flatnonzero(np.isfinite(row)) for row in samples.scores]
  records = [
    _record(i, [named[i * each + k] for k in ks], samples.scores[i, ks], name)
    for i, ks in enumerate(scored)
    if len(ks)
  ]
  try:
    with within("data"):
      view = data.view(records, loss.kind, loss.needs, chosen, seed=seed)
  except UserError as error:
    missing = int(np.isnan(samples.scores).sum())
    if not missing:
      raise
    raise UserError(
      f"{name}: {missing:,} of {samples.scores.size:,} samples got no score "
      f"({option('grow.score')}), and of the others {marked(error)}"
    ) from error
  rows = view.rows
  which = np.array(
    [
      [int(i) * each + int(k) for i, k in (c.split("/") for c in r.completions)]
      for r in rows
    ],
    np.int64,
  )
  if threshold is not None and not Needs.of(loss.needs).labels:
    above = samples.scores.reshape(-1)[which[:, 0]] > threshold
    if not above.any():
      raise UserError(
        f"{name}: no sample scores above {threshold:g} "
        f"({option('grow.thresholds')}); the best scores "
        f"{np.nanmax(samples.scores):g}"
      )
    which = which[above]
    rows = tuple(row for row, good in zip(rows, above, strict=True) if good)

  def column(name: str, dtype: Any) -> np.ndarray | None:
    values = [getattr(row, name) for row in rows]
    return None if values[0] is None else np.array(values, dtype)

  of_prompt = np.repeat(samples.prompts, each)
  behaviour = column("behaviour_logps", np.float32)
  reads_tokens = Needs.of(loss.needs).behaviour_token_logps
  by_token = drawn.token_logps if reads_tokens else None
  return TokenRows(
    kind=view.kind,
    prompts=prompts,
    completions=drawn.tokens,
    completion_prompt=of_prompt,
    prompt_index=of_prompt[which[:, 0]],
    completion_index=which,
    weight=np.ones(len(rows), np.float32),
    sources=tuple(row.sources for row in rows),
    pad_id=pad_id,
    prompt_length=lengths[0],
    completion_length=lengths[1],
    rewards=column("rewards", np.float32),
    labels=column("labels", bool),
    behaviour_logps=behaviour,
    behaviour_token_logps=by_token,
    behaviour_index=None if by_token is None else which,
    margins=column("gap", np.float32),
    longest_completion=lengths[1],
  )


def _record(
  i: int, named: list[TokenText], scores: np.ndarray, name: str
) -> Record:
  """Prompt i of a round, with its samples that have scores."""
  logps = [text.logp for text in named]
  return Record(
    str(i),
    tuple(named),
    tuple(scores.tolist()),
    None,
    False,
    f"{name}, prompt {i}",
    None if None in logps else tuple(x for x in logps if x is not None),
  )


_FEEDBACK = ("rewards", "labels", "behaviour_logps", "margins")


def join(parts: Sequence[TokenRows], lengths: tuple[int, int]) -> TokenRows:
  """Joins rows of one loss: all rows, with the columns that all of them have.

  Args:
    parts: of the same kind and K; their sequences may repeat each other's.
    lengths: P and T.
  """
  prompts = np.cumsum([0, *(len(part.prompts) for part in parts)])
  sequences = np.cumsum([0, *(len(part.completions) for part in parts)])

  def all_of(name: str, base: np.ndarray | None = None) -> Any:
    values = [getattr(part, name) for part in parts]
    if any(value is None for value in values):
      return None
    if base is not None:
      values = [v + b for v, b in zip(values, base, strict=False)]
    return np.concatenate(values)

  first = parts[0]
  logged = [part.behaviour_token_logps for part in parts]
  by_token, index = None, None
  if all(x is not None for x in logged):
    each = [row for x in logged if x is not None for row in x]
    base = np.cumsum([0, *(len(x) for x in logged if x is not None)])
    by_token = Ragged.of(each, np.float32)
    index = all_of("behaviour_index", base)
  return TokenRows(
    kind=first.kind,
    prompts=Ragged.of([x for part in parts for x in part.prompts]),
    completions=Ragged.of([y for part in parts for y in part.completions]),
    completion_prompt=all_of("completion_prompt", prompts),
    prompt_index=all_of("prompt_index", prompts),
    completion_index=all_of("completion_index", sequences),
    weight=all_of("weight"),
    sources=tuple(source for part in parts for source in part.sources),
    pad_id=first.pad_id,
    prompt_length=lengths[0],
    completion_length=lengths[1],
    behaviour_token_logps=by_token,
    behaviour_index=index,
    longest_completion=max(part.longest_completion for part in parts),
    **{name: all_of(name) for name in _FEEDBACK},
  )


def threshold_of(threshold: Threshold | None, samples: Samples) -> float | None:
  """The score that a part's samples are to be above; None of no threshold."""
  if threshold is None:
    return None
  return threshold.of(samples.scores[np.isfinite(samples.scores)])
