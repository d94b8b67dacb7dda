"""Make the samples of a round: prompts, completions, scores."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from offalign.config import Config
from offalign.config.grow import GrowConfig
from offalign.data import Prompt, Tokenizer
from offalign.data.batches import vocabulary
from offalign.data.text.ragged import Ragged
from offalign.distributed import hosts
from offalign.errors import UserError, concerning, option
from offalign.generation.completing import encode, first_seed
from offalign.judges.scorers import Score, Scorer, Watch
from offalign.models.base import Model
from offalign.policy.policy import Policy
from offalign.training.rounds import scoring
from offalign.training.rounds.drawing import Drawer, Drawn
from offalign.training.rounds.external import External
from offalign.training.rounds.kept import Samples
from offalign.training.rounds.logged import Logged
from offalign.training.rounds.prompts import Asked
from offalign.training.rounds.refitting import Refits
from offalign.training.rounds.schedule import RoundSampler
from offalign.training.rounds.scoring import HELD_JUDGE, HELD_SCORE
from offalign.types import Params


def drawn(
  prompts: Sequence[Prompt], grow: GrowConfig, seed: int
) -> tuple[Prompt, ...]:
  """The held-out prompts that are completed at evaluations."""
  order = np.random.default_rng([seed, 4]).permutation(len(prompts))
  kept = np.sort(order[: grow.eval_prompts])
  return tuple(prompts[i] for i in kept)


@dataclasses.dataclass(frozen=True)
class Other:
  """Another policy, which writes the second half of a prompt's samples.

  Attributes:
    model: its model.
    params: its weights, on the run's mesh.
  """

  model: Model
  params: Params


def other(config: Config, tokenizer: Tokenizer) -> Other | None:
  """Opens the policy that `grow.other` names, or None.

  Raises:
    UserError: where it is no run, or has another tokenizer.
  """
  grow = config.grow
  assert grow is not None
  if grow.other is None:
    return None
  with concerning(option("grow.other", grow.other)):
    policy = Policy.load(grow.other)
    if policy.tokenizer.fingerprint != tokenizer.fingerprint:
      raise UserError(
        "its tokenizer is another than this run's, so that its tokens would "
        "be other words here; name a run with this tokenizer"
      )
    vocabulary.check_tokenizer(
      tokenizer, policy.model.vocab_size, policy.model.spec
    )
  return Other(policy.model, policy.params)


@dataclasses.dataclass(frozen=True)
class Maker:
  """Draws and scores samples, all of it from the run's seed.

  Attributes:
    config: of the run.
    asked: the prompts.
    drawer: draws completions.
    model: the policy's.
    score: scores completions.
    tokenizer: turns tokens into the texts that are scored.
    other: writes half of the samples, where it is given.
    held: held-out prompts, whose completions are scored at evaluations.
    judge: scores those too, where it is given.
    external: an engine that draws in place of the policy; held-out prompts
      are completed by the policy all the same.
    refits: trains `score` further between rounds, where that is wanted.
  """

  config: Config
  asked: Asked
  drawer: Drawer
  model: Model
  score: Score
  tokenizer: Tokenizer
  other: Other | Logged | None
  held: tuple[Prompt, ...]
  judge: Score | None = None
  external: External | None = None
  refits: Refits | None = None

  @property
  def is_partial(self) -> bool:
    """Whether some samples may have no score."""
    return isinstance(self.score, Scorer) and self.score.partial

  def scorer(self, number: int) -> Score:
    """What scores in a round; see `Refits.score`."""
    return self.score if self.refits is None else self.refits.score(number)

  def prompts(self, number: int) -> np.ndarray:
    """The prompts of a round, int [n]; each comes once before any again."""
    asked = self.asked
    seed = first_seed(f"{self.config.seed}/prompts")
    sampler = RoundSampler(len(asked.prompts), asked.batch, seed)
    return sampler.indices(number - 1)

  def make(self, number: int, policy: Params) -> tuple[Samples, list[str]]:
    """Draws and scores the samples of a round.

    The random numbers of a sample are those of the run's seed, the round and
    its place in it.

    Args:
      number: of the round.
      policy: the weights at the border.

    Returns:
      The samples, and their texts.

    Raises:
      UserError: where they cannot be scored.
      Stopped: where the run was asked to stop.
    """
    grow = self.config.grow
    assert grow is not None
    score = self.scorer(number)
    which = self.prompts(number)
    each = grow.each
    seeds = first_seed(f"{self.config.seed}/grow/{number}") + np.arange(
      len(which) * each
    )
    mine = self._mine(halved=self.other is not None)
    prompts, place = np.repeat(which, each), np.tile(mine, len(which))
    if self.external is None:
      first = self._draw(self.model, policy, prompts[place], seeds[place])
    else:
      n = int(mine.sum())
      first = self.external.draw(number, which, n, self.drawer.stop)
    drawn = first
    if self.other is not None:
      if isinstance(self.other, Logged):
        second = self.other.take(which, seeds[~place])
      else:
        second = self._of_other(self.other, prompts[~place], seeds[~place])
      at = np.empty(len(prompts), int)
      at[place] = np.arange(place.sum())
      at[~place] = np.arange(place.sum(), len(prompts))
      drawn = Drawn.joined([first, second], at)
    texts = [self.tokenizer.decode(row) for row in drawn.tokens]
    scores = self._scored(
      score, "score", [self.asked.prompts[i] for i in prompts], texts
    )
    return Samples(which, drawn, scores.reshape(len(which), each)), texts

  def _mine(self, *, halved: bool) -> np.ndarray:
    """Which of a prompt's K samples are not of the other, bool [K]."""
    assert self.config.grow is not None
    each = self.config.grow.each
    return np.arange(each) < each - (each // 2 if halved else 0)

  @property
  def fresh(self) -> np.ndarray:
    """Which of a prompt's K samples are written anew, bool [K].

    The others are completions of the log.
    """
    return self._mine(halved=isinstance(self.other, Logged))

  def _draw(
    self, model: Model, params: Params, which: np.ndarray, seeds: np.ndarray
  ) -> Drawn:
    return self.drawer.draw(model, params, self.asked.tokens, which, seeds)

  def _of_other(
    self, other: Other, which: np.ndarray, seeds: np.ndarray
  ) -> Drawn:
    """Draws from the other policy, whose weights each process has whole."""
    if not hosts.several():
      return self._draw(other.model, other.params, which, seeds)
    tokens = self.asked.tokens

    def draw(watch: Watch) -> Drawn:
      return self.drawer.draw(
        other.model, other.params, tokens, which, seeds, alone=watch
      )

    return Drawn.of_first(draw, self.drawer.stop)

  def _scored(
    self,
    score: Score,
    name: str,
    prompts: list[Any],
    texts: list[str],
    least: float = 0.5,
  ) -> np.ndarray:
    """Scores by `grow.score` or `grow.judge`, which `name` says.

    The first process asks, so that all have the same scores. See
    `scoring.numbers` for `least`.
    """
    grow = self.config.grow
    assert grow is not None
    pairs = list(zip(prompts, texts, strict=True))
    named = option(f"grow.{name}", getattr(grow, name))

    def scores(watch: Watch) -> dict[str, np.ndarray]:
      with concerning(named):
        return {"scores": scoring.numbers(score, pairs, watch, least=least)}

    stop = self.drawer.stop
    return hosts.from_first_watched(scores, stop.check)["scores"]

  def held_score(self, policy: Params, number: int) -> dict[str, float]:
    """Completes and scores held-out prompts; {} where there are none.

    The random numbers are the same each time, so that two figures differ by
    the policy alone.

    Args:
      policy: the weights.
      number: of the round whose scores count.

    Returns:
      `HELD_SCORE`, and its standard error; `HELD_JUDGE` likewise. Of what
      compares the completions of a prompt there is no `HELD_SCORE`, and
      neither is there a mean of no scores.
    """
    if not self.held:
      return {}
    tokens = self._held_tokens()
    seeds = first_seed(f"{self.config.seed}/held") + np.arange(len(tokens))
    which = np.arange(len(tokens))
    drawn = self.drawer.draw(self.model, policy, tokens, which, seeds)
    texts = [self.tokenizer.decode(row) for row in drawn.tokens]
    held, found = list(self.held), {}
    assert self.config.grow is not None
    by = []
    if scoring.is_alone(self.config.grow):
      by.append((self.scorer(number), "score", HELD_SCORE))
    if self.judge is not None:
      by.append((self.judge, "judge", HELD_JUDGE))
    if not by:
      return {}
    for score, name, metric in by:
      scores = self._scored(score, name, held, texts, least=0)
      scores = scores[np.isfinite(scores)]
      if not len(scores):
        continue
      found[metric] = float(scores.mean())
      if len(scores) > 1:
        error = scores.std(ddof=1) / np.sqrt(len(scores))
        found[f"{metric}_error"] = float(error)
    return found

  def _held_tokens(self) -> Ragged:
    return encode(self.tokenizer, self.held, self.config.data.max_prompt)[0]
