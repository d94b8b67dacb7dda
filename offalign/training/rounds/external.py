"""Samples of a round by an engine in place of the policy.

Answers are kept in RUN/rounds/answers-R.sqlite until round R is whole, so that
a run that was killed asks again only for what is missing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from offalign.config import Config
from offalign.data import Prompt, Tokenizer
from offalign.data.text.ragged import Ragged
from offalign.data.views.rows import Needs
from offalign.distributed import hosts
from offalign.distributed.signals import Stop
from offalign.errors import UserError, concerning, option
from offalign.generation.endpoint.choices import Choice
from offalign.generation.endpoint.completed import encoded
from offalign.generation.endpoint.options import parse
from offalign.generation.endpoint.sampler import EndpointSampler
from offalign.losses import Loss
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.prompts import Asked

_FILE = "answers-{}.sqlite"


@dataclasses.dataclass(frozen=True)
class External:
  """An engine that draws the samples of rounds.

  Attributes:
    config: of the run.
    tokenizer: of the run.
    asked: the prompts.
    folder: of the rounds.
    ratios: whether the loss divides by what samples were drawn with.
  """

  config: Config
  tokenizer: Tokenizer
  asked: Asked
  folder: pathlib.Path
  ratios: bool

  def probe(self) -> None:
    """Asks for one token, to see that the engine is there and tells enough.

    Of several processes the first asks.

    Raises:
      UserError: in every process, where it is not, or tells no log-probs that
        the loss needs.
    """
    hosts.from_first(self._probed)

  def _probed(self) -> dict[str, np.ndarray]:
    """Asks as `probe` does; there is nothing that the others need to have."""
    sampler = self._sampler(1, None)
    with concerning(option("grow.sampler")):
      try:
        first = Ragged.of([self.asked.tokens[0]])
        found = sampler.complete(first, 1, stream="probe")
      finally:
        sampler.close()
      # An engine may leave out the token that ends a text, here the only one.
      if self.ratios and not (found[0].finished and found[0].ids):
        self._check(found)
    return {}

  def draw(
    self, number: int, which: np.ndarray, each: int, stop: Stop
  ) -> Drawn:
    """Draws samples of a round; of several processes the first asks for them.

    Args:
      number: of the round.
      which: int [n], its prompts.
      each: completions of a prompt.
      stop: looked at while the engine is waited for, by every process.

    Raises:
      UserError: in every process, where the engine fails.
      Stopped: where the run was asked to stop.
    """
    return Drawn.of_first(
      lambda watch: self._asked_for(number, which, each, watch), stop
    )

  def _asked_for(
    self,
    number: int,
    which: np.ndarray,
    each: int,
    watch: Callable[[], None],
  ) -> Drawn:
    """Draws as `draw` does, in one process."""
    self.folder.mkdir(parents=True, exist_ok=True)
    kept = self.folder / _FILE.format(number)
    for old in self.folder.glob(_FILE.format("*")):
      if old != kept:
        old.unlink(missing_ok=True)
    sampler = self._sampler(self.asked.lengths[1], kept)
    with concerning(option("grow.sampler")):
      try:
        found = sampler.complete(
          Ragged.of([self.asked.tokens[i] for i in which]),
          each,
          stream=f"{self.config.seed}/grow/{number}",
          watch=watch,
        )
      finally:
        sampler.close()
      if self.ratios:
        self._check(found)
    prompts = [self.asked.prompts[i] for i in np.repeat(which, each)]
    return self._drawn(found, prompts, sampler)

  def forget(self) -> None:
    """Deletes the answers of a round that is whole; the first process does."""
    if not hosts.is_first():
      return
    for old in self.folder.glob(_FILE.format("*")):
      old.unlink(missing_ok=True)

  def _sampler(
    self, longest: int, cache: pathlib.Path | None
  ) -> EndpointSampler:
    grow = self.config.grow
    assert grow is not None
    assert grow.sampler is not None
    return EndpointSampler(
      parse(grow.sampler),
      self.tokenizer,
      max_new_tokens=longest,
      temperature=grow.temperature,
      top_k=grow.top_k,
      top_p=grow.top_p,
      cache=cache,
    )

  def _check(self, found: Sequence[Choice]) -> None:
    """Refuses completions without log-probs, for a loss that needs them."""
    lacking = [x for x in found if x.ids is None or x.logprobs is None]
    if lacking:
      what = "text alone" if lacking[0].ids is None else "no log-probs"
      raise UserError(
        f"the engine gives {what}, and this loss divides by what each token "
        "was drawn with: take an engine that gives token ids and log-probs "
        "(vLLM and SGLang do), or a loss without ratios"
      )

  def _drawn(
    self,
    found: Sequence[Choice],
    prompts: Sequence[Prompt],
    sampler: EndpointSampler,
  ) -> Drawn:
    """As the policy's own samples are; what is not known is NaN."""
    longest = self.asked.lengths[1]
    tokens = [
      encoded(choice, self.tokenizer, prompt)[:longest]
      for choice, prompt in zip(found, prompts, strict=True)
    ]
    told = [
      np.full(len(ids), np.nan, np.float32)
      if choice.logprobs is None
      else np.array(choice.logprobs, np.float32)
      for choice, ids in zip(found, tokens, strict=True)
    ]
    sums = np.array([x.sum() for x in told], np.float32)
    if not sampler.knows_own:
      sums = np.full_like(sums, np.nan)
    if not sampler.knows_drawn:
      told = [np.full_like(x, np.nan) for x in told]
    finished = np.array([x.finished for x in found], bool)
    return Drawn(Ragged.of(tokens), sums, Ragged.of(told, np.float32), finished)


def of_run(
  config: Config,
  loss: Loss,
  tokenizer: Tokenizer,
  asked: Asked,
  folder: pathlib.Path,
) -> External | None:
  """The engine that `grow.sampler` names, after a look at it; or None.

  Raises:
    UserError: see `External.probe`.
  """
  if config.grow is None or config.grow.sampler is None:
    return None
  ratios = Needs.of(loss.needs).behaviour_logps
  made = External(config, tokenizer, asked, folder, ratios)
  made.probe()
  return made
