"""Selection of the best checkpoint by win rate, as in the DRO paper.

The paper recorded a checkpoint every 2,000 steps and took the best one "as
determined by side-by-side comparison against the SFT policy" (section 4).
offalign has the policy complete the same held-out prompts with the same random
numbers each time, and a judge compares these with completions that the
starting policy, or another, wrote once. The win rate is logged like any
held-out metric, so `offalign.policy.best` keeps the checkpoint. RUN/select has
what is needed to resume.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offalign import judges
from offalign.config import Config
from offalign.data import Tokenizer
from offalign.distributed import hosts
from offalign.distributed.signals import Stop
from offalign.errors import UserError, concerning, marked, option
from offalign.files import write_atomically
from offalign.generation import completions
from offalign.generation.completing import Completed, complete, encode
from offalign.judges.win_rates import win_rate
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.policy import limit as limits
from offalign.policy.best import WIN_RATE
from offalign.policy.policy import Policy
from offalign.training.batches import Batches
from offalign.types import Params

FOLDER = "select"
UNFINISHED = "eval_win_rate/unfinished"
_OPTION = "select.max_new_tokens"
_REFERENCE = "reference.jsonl"


class Unjudged(UserError):
  """The judge could not compare a policy; the run may go on from there."""


def keeping(config: Config) -> Config:
  """Sets `keep_best` to the win rate where a judge selects.

  Raises:
    UserError: where another metric is to be best.
  """
  if config.select is None:
    return config
  if config.keep_best not in (None, WIN_RATE):
    raise UserError(
      f"{option('keep_best', config.keep_best)} is set beside "
      f"{option('select.judge')}, which keeps the best by win rate; leave one "
      "out"
    )
  return dataclasses.replace(config, keep_best=WIN_RATE)


class Selection:
  """Compares policies of a run with one set of completions.

  Attributes:
    prompts: held-out ones, which each policy completes.
  """

  def __init__(self, config: Config, loss: Loss, inputs: Batches):
    """Makes the judge and draws the prompts; writes nothing.

    Args:
      config: of the run.
      loss: of the run.
      inputs: has the held-out prompts and the tokenizer.

    Raises:
      UserError: for a run that cannot be judged.
    """
    assert config.select is not None
    self._config, self._select = config, config.select
    self._folder = pathlib.Path(config.out) / FOLDER
    self._tokenizer: Tokenizer = inputs.tokenizer
    if loss.trains_rewards:
      raise UserError(
        f"{option('select.judge')} is set, but loss {str(loss)!r} trains a "
        "reward model, which completes nothing; leave it out"
      )
    if config.hosts is not None:
      raise UserError(
        f"{option('select.judge')} is set beside {option('hosts')}: "
        "selection is for runs of one process. Train without it, and judge "
        "checkpoints with offalign.judge"
      )
    if not inputs.held_prompts:
      raise UserError(
        f"{option('select.judge')} is set, but no prompts are held out to "
        f"complete: give {option('data.eval_path')}, or "
        f"{option('data.eval_fraction')} above 0"
      )
    with concerning(option("select.judge", self._select.judge)):
      self._judge = judges.make(self._select.judge, self._folder)
    self.prompts = self._drawn(inputs.held_prompts)
    self._held = len(inputs.held_prompts)
    self._encoded, self._cut = encode(
      self._tokenizer, self.prompts, config.data.max_prompt
    )
    self._longest = self._select.max_new_tokens or limits.of_data(
      config.data.max_completion, inputs.train.longest_completion
    )
    self._others: tuple[str, ...] = ()

  def _drawn(self, prompts: tuple[Any, ...]) -> tuple[Any, ...]:
    order = np.random.default_rng([self._select.seed, 2])
    kept = order.permutation(len(prompts))[: self._select.prompts]
    return tuple(prompts[i] for i in np.sort(kept))

  def prepare(self, model: Model, start: Params, stop: Stop) -> None:
    """Reads the completions of the other side, or has them generated.

    Args:
      model: the policy's.
      start: the params that the run starts from.
      stop: looked at after each batch.

    Raises:
      UserError: where `select.against` cannot be the other side.
    """
    self._bound(model)
    file = self._folder / _REFERENCE
    if not file.exists():
      self._write(file, *self._complete_others(model, start, stop))
    known = completions.read(file)
    if known.prompts != self.prompts:
      raise UserError(
        f"{file} holds completions of other prompts: it is not this run's. "
        f"Delete it, or name another {option('out')}"
      )
    self._others = known.texts
    found = completions.cuts(known.ends, len(known.texts))
    for sentence in found.sentences("selection, the other side", _OPTION):
      hosts.say(sentence)

  def _bound(self, model: Model) -> None:
    """Keeps the default limit within the model's positions; says what cuts."""
    width = int(self._encoded.lengths.max())
    if self._select.max_new_tokens is None:
      limit = limits.Limit(self._longest)
      limit = limits.bounded(limit, model, width, _OPTION)
    else:
      why = limits.passes(self._longest, model, width)
      limit = limits.Limit(self._longest, why)
    self._longest = limit.tokens
    said = [
      f"completions of {limit.tokens:,} tokens at most ({option(_OPTION)})"
      if not limit.why
      else limit.why
    ]
    if len(self.prompts) < self._held:
      said.append(
        f"{len(self.prompts):,} of {self._held:,} held-out prompts are "
        f"completed ({option('select.prompts')})"
      )
    if self._cut:
      said.append(
        f"{self._cut:,} of {len(self.prompts):,} prompts are cut to their end, "
        "as in training"
      )
    for sentence in said:
      hosts.say(f"selection: {sentence}")

  def _complete_others(
    self, model: Model, start: Params, stop: Stop
  ) -> tuple[list[str], Sequence[Mapping[str, Any]]]:
    """The other side's texts, and what is known of each beside."""
    against = self._select.against
    if against is None:
      hosts.say(
        f"selection: completing {len(self.prompts)} held-out prompts with the "
        "starting policy"
      )
      done = self._complete(model, start, "other side", stop)
      return [x.text for x in done], list(map(completions.about, done))
    with concerning(option("select.against", against)):
      if pathlib.Path(against).is_dir():
        done = Policy.load(against).generate(
          self.prompts,
          max_new_tokens=self._longest,
          temperature=self._select.temperature,
          seed=self._select.seed,
        )
        return [x.text for x in done], list(map(completions.about, done))
      given = completions.read(against)
      place = {prompt: i for i, prompt in enumerate(given.prompts)}
      missing = [prompt for prompt in self.prompts if prompt not in place]
      if missing:
        raise UserError(
          f"it has no completion of {len(missing)} of the {len(self.prompts)} "
          "held-out prompts"
        )
      found = [place[prompt] for prompt in self.prompts]
      ends = [given.ends[i] for i in found] if given.ends else []
      about = [completions.about(end) for end in ends]
      return [given.texts[i] for i in found], about or [{}] * len(found)

  def _write(
    self,
    file: pathlib.Path,
    texts: list[str],
    about: Sequence[Mapping[str, Any]],
  ) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
      completions.line(prompt, text, **known)
      for prompt, text, known in zip(self.prompts, texts, about, strict=True)
    ]
    write_atomically(file, "".join(f"{line}\n" for line in lines))

  def _complete(
    self, model: Model, params: Params, who: str, stop: Stop
  ) -> list[Completed]:
    return complete(
      model,
      params,
      self._tokenizer,
      self._encoded,
      stream=f"{self._select.seed}/{who}",
      max_new_tokens=self._longest,
      batch_size=min(self._config.batch_size, len(self.prompts)),
      temperature=self._select.temperature,
      after_batch=stop.check,
    )

  def compare(
    self, model: Model, params: Params, stop: Stop
  ) -> dict[str, float]:
    """Computes the win rate of a policy against the other side.

    Returns:
      `eval_win_rate/sft`, ties 1/2; `eval_win_rate/ties`, their share;
      `eval_win_rate/judged`, the share of the prompts with a verdict; and
      `eval_win_rate/unfinished`, the share of the policy's completions that
      did not end within the limit of tokens.

    Raises:
      Unjudged: where the judge cannot go on, or its calls are used up: win
        rates over different prompts say nothing about which is best.
      Stopped: where the run was asked to stop.
    """
    done = self._complete(model, params, "policy", stop)
    texts = [x.text for x in done]
    try:
      said = self._judge.compare(self.prompts, texts, self._others)
      if said.counts.get("capped"):
        raise UserError(
          f"max_calls is used up with {said.counts['capped']} of "
          f"{len(self.prompts)} comparisons not made; go on with the same "
          "command, which asks nothing twice"
        )
      found = win_rate(said.preferences)
    except UserError as error:
      raise Unjudged(
        f"{option('select.judge', self._select.judge)}: {marked(error)}"
      ) from error
    return {
      WIN_RATE: found.rate,
      "eval_win_rate/ties": found.ties,
      "eval_win_rate/judged": found.comparisons / len(self.prompts),
      UNFINISHED: sum(not x.finished for x in done) / len(done),
    }
