"""The rewards of a run on the scale that its loss reads."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from offalign.config.data import DataConfig
from offalign.data import RewardScales, Row, TokenRows
from offalign.data.batches import reward_scales
from offalign.data.reading.records import count
from offalign.data.views.rows import Needs
from offalign.errors import UserError, option
from offalign.losses import Loss


def check(config: DataConfig, loss: Loss, is_mixture: bool) -> None:
  """Refuses options of reward normalisation that nothing would read.

  Raises:
    UserError: naming the option.
  """
  given = {
    "normalize_rewards": config.normalize_rewards,
    "normalize_by": config.normalize_by,
  }
  for name, value in given.items():
    if value is None or reads_rewards(loss):
      continue
    if Needs.of(loss.needs).margins and value is not False:
      raise UserError(
        f"{option(f'data.{name}', value)} is set, but loss {str(loss)!r} reads "
        "margins, which stay in the units of the scores; leave it out"
      )
    if not Needs.of(loss.needs).margins:
      raise UserError(
        f"{option(f'data.{name}')} is set, but loss {str(loss)!r} reads no "
        "rewards; leave it out"
      )
  by = config.normalize_by
  if by is not None and config.normalize_rewards is False:
    raise UserError(
      f"{option('data.normalize_by', by)} is set, but "
      f"{option('data.normalize_rewards', False)} leaves the rewards as they "
      "are; give one"
    )
  if by == "source" and not is_mixture:
    raise UserError(
      f"{option('data.normalize_by', by)} is set, but {option('data.path')} is "
      "no mixture of sources with weights; leave it out"
    )
  if by == "source" and config.eval_path is not None:
    raise UserError(
      f"{option('data.normalize_by', by)} is set beside "
      f"{option('data.eval_path')}, whose rows are of no source; hold out by "
      f"{option('data.eval_fraction')}, or normalise by dataset or prompt"
    )


def reads_rewards(loss: Loss) -> bool:
  """Whether a loss reads rewards."""
  return Needs.of(loss.needs).rewards


def is_wanted(config: DataConfig, loss: Loss, rows: Sequence[Row]) -> bool:
  """Whether rewards are to be normalised.

  Margins that are read as rewards are not: the loss reads them in the units
  of the scores.

  Args:
    config: the data flags.
    loss: that reads them.
    rows: of all views.

  Raises:
    UserError: where that contradicts the flags, or some of the rows have
      rewards and others margins.
  """
  if not reads_rewards(loss) or config.normalize_rewards is False:
    return False
  as_margins = [row.rewards_are_margins for row in rows]
  if not any(as_margins):
    return True
  off = option("data.normalize_rewards", False)
  if not all(as_margins):
    scored = rows[as_margins.index(False)].sources[0]
    bare = rows[as_margins.index(True)].sources[0]
    raise UserError(
      f"some pairs have scores ({scored}) and others margins alone ({bare}): "
      "scores are normalised and margins are not, so the two would differ in "
      f"scale; give {off}, which leaves the scores as they are too"
    )
  for name in ("normalize_rewards", "normalize_by"):
    value = getattr(config, name)
    if value is not None:
      raise UserError(
        f"{option(f'data.{name}', value)} is set, but the data has margins "
        "and no scores, and margins stay in their units; leave it out"
      )
  return False


def apply(
  by: reward_scales.By,
  train: TokenRows,
  held: TokenRows | None,
  *,
  rows: Sequence[Row],
  source_of: dict[tuple[str, ...], str],
  weights: np.ndarray | None,
  known: RewardScales | None,
  said: list[str],
) -> tuple[TokenRows, TokenRows | None, RewardScales]:
  """Normalises rewards to mean 0 and variance 1.

  Held-out rows get the scale of the training rows. By prompt, those of
  prompts that are not trained on get the scale of their own completions.

  Args:
    by: what is to have them: the data set, a source or a prompt.
    train: the training rows, with rewards.
    held: the held-out rows.
    rows: of the views that `train` and `held` were made of.
    source_of: the name of a row's source by the row's `sources`.
    weights: [N], how often the training rows are drawn; None = alike.
    known: scales of the same run, which are used again.
    said: sentences on what was done are added here.

  Returns:
    Both parts with normalised rewards, and the scales.

  Raises:
    UserError: where all rewards are the same.
  """
  key_of = source_of
  if by == "prompt":
    key_of = {row.sources: reward_scales.prompt_key(row.prompt) for row in rows}

  def keys_of(part: TokenRows) -> list[str]:
    if by == "dataset":
      return [""] * len(part)
    return [key_of[sources] for sources in part.sources]

  def fitted(part: TokenRows, keys: list[str]) -> RewardScales:
    assert part.rewards is not None
    return reward_scales.fit(part.rewards, by, keys, part.sources, weights)

  def scaled(part: TokenRows, keys: list[str]) -> TokenRows:
    assert part.rewards is not None
    rewards = found.apply(part.rewards, keys)
    return dataclasses.replace(part, rewards=rewards)

  keys = keys_of(train)
  found = fitted(train, keys)
  if by == "prompt" and found.flat == len(found.known):
    raise UserError(
      "the rewards cannot be normalised by prompt: no prompt has two different "
      "rewards, so there is nothing to learn from them"
    )
  said += _describe(found)
  if known is not None:
    found = known.with_new(found)
  train = scaled(train, keys)
  if held is not None and held.rewards is not None:
    keys = keys_of(held)
    if by == "prompt":
      found = found.with_new(fitted(held, keys))
    held = scaled(held, keys)
  return train, held, found


def _describe(found: RewardScales) -> list[str]:
  if found.by == "prompt":
    said = [
      "training: rewards normalised by prompt, mean 0 and variance 1 over the "
      f"completions of each of {count(len(found.known), 'prompt')}"
    ]
    if found.flat:
      said.append(
        f"training: {count(found.flat, 'prompt')} with no two different "
        "rewards: all of them become 0"
      )
    return said
  return [
    f"training{', ' * bool(key)}{key}: rewards normalised, mean "
    f"{scale.mean:.6g} and standard deviation {scale.std:.6g} before"
    for key, scale in found.known.items()
  ]
