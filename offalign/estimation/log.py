"""The evidence of a log: weights of a new policy, and a model's scores."""

from collections.abc import Callable, Sequence

import numpy as np

from offalign.data import Record
from offalign.data.reading.records import count
from offalign.errors import UserError, option
from offalign.estimation.estimators import Evidence
from offalign.generation.completions import Prompt
from offalign.policy import scoring
from offalign.policy.policy import Policy
from offalign.policy.trained_rewards import refuse_as_policy

Scorer = Callable[[list[tuple[Prompt, str]]], np.ndarray]
"""(prompt, completion) pairs -> float [n]."""


def from_log(
  policy: Policy,
  records: Sequence[Record],
  *,
  behaviour: Policy | None = None,
  scorer: Scorer | None = None,
  samples: int = 4,
  batch_size: int = 32,
) -> Evidence:
  """Reads the evidence of a log about a policy.

  Args:
    policy: the new one.
    records: with rewards, or with thumbs, which count 1 and 0.
    behaviour: the policy that wrote the log; None = the log's own column
      `behaviour_logps`.
    scorer: a reward model, for the direct method; None = none.
    samples: of the new policy for each distinct prompt, for the scorer.
    batch_size: completions scored or drawn at a time.

  Raises:
    UserError: for a log without rewards, or without log-probs of the policy
      that wrote it where none is named; or where both are given.
  """
  for each in (policy, behaviour):
    if each is not None:
      refuse_as_policy(each.folder, each.about, "be estimated")
  rewards = _rewards(records)
  logged = [record.behaviour_logps for record in records]
  lacking = sum(each is None for each in logged)
  if behaviour is None and lacking:
    raise UserError(
      f"{lacking:,} of {count(len(records), 'row')} have no behaviour_logps, "
      "the log-probs under the policy that wrote them: name that policy by "
      f"{option('behaviour')}"
    )
  if behaviour is not None and not lacking:
    raise UserError(
      "the log has a column behaviour_logps of its own, so that "
      f"{option('behaviour')} is not needed: leave it out"
    )
  new = _logps(policy, records, batch_size)
  if behaviour is None:
    old = np.array([x for each in logged for x in each or ()])
  else:
    old = _logps(behaviour, records, batch_size)
  distinct = dict.fromkeys(record.prompt for record in records)
  number = {prompt: i for i, prompt in enumerate(distinct)}
  asked = [r.prompt for r in records for _ in r.completions]
  modelled = direct = None
  if scorer is not None:
    texts = [text for r in records for text in r.completions]
    written: list[tuple[Prompt, str]] = list(zip(asked, texts, strict=True))
    modelled = np.asarray(scorer(written), np.float64)
    drawn = policy.generate(
      list(distinct), samples=samples, batch_size=batch_size, verbose=False
    )
    pairs: list[tuple[Prompt, str]] = [
      (prompt, drawn[i * samples + j].text)
      for i, prompt in enumerate(distinct)
      for j in range(samples)
    ]
    scores = np.asarray(scorer(pairs), np.float64)
    direct = scores.reshape(len(distinct), samples).mean(axis=1)
  return Evidence(
    prompts=np.array([number[prompt] for prompt in asked]),
    rewards=rewards,
    log_weights=new - old,
    modelled=modelled,
    direct=direct,
  )


def _rewards(records: Sequence[Record]) -> np.ndarray:
  """The rewards of all completions; thumbs count 1 and 0."""
  found: list[float] = []
  for record in records:
    if record.rewards is not None:
      found += record.rewards
    elif record.labels is not None:
      found += [float(label) for label in record.labels]
    else:
      raise UserError(
        f"{record.source} has no reward and no thumb: a policy's value is a "
        "mean of them"
      )
  return np.array(found, np.float64)


def _logps(
  policy: Policy, records: Sequence[Record], batch_size: int
) -> np.ndarray:
  """Log-probs of whole completions, cut nowhere: one a completion."""
  found = scoring.logps(
    policy.model,
    policy.params,
    policy.tokenizer,
    tuple(records),
    max_prompt=None,
    max_completion=None,
    batch_size=batch_size,
  )
  counts = np.array([len(record.completions) for record in records])
  return np.asarray(
    found[np.arange(found.shape[1]) < counts[:, None]], np.float64
  )
