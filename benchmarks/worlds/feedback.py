"""The world `feedback`: people's preferences, judged by a reward model.

The log is real: pairs of replies to the last message of a conversation, of
which people preferred one (reward 1, the other 0). No policy of the benchmark
wrote it. The judge is a Bradley-Terry reward model, trained on the half of the
conversations that no method sees. A prompt is the end of the last message, a
completion the opening of a reply, both in byte-pair tokens.

The policy is fine-tuned on the replies of the conversations of the log, the
chosen one and those of earlier turns. Validation and test prompts are of other
conversations, and none of them is a prompt of the log, of the fine-tuning or
of the judge, as tokens.
"""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import ops_sizes as sizes
from benchmarks.worlds import conversations
from benchmarks.worlds.base import Given, World
from benchmarks.worlds.conversations import Conversation, Encoder
from benchmarks.worlds.reward_judge import Judge, Replies
from offalign.errors import UserError, suggest
from offalign.leaderboard import Sample

FOLDER = "hh_harmless"
WIDTH = 24
"""Tokens of a prompt, SEP included, and of a completion."""
LOGGED = 0.8
"""The share of the log's conversations that a seed's log has."""
SFT_STEPS = 300
"""Fewer than in the other worlds, whose demonstrations are made at will."""


class Feedback(World):
  """See the module's text.

  Attributes:
    judge: the reward model.
    accuracy: the share of the pairs that it was not trained on whose chosen
      reply it scores higher, and its standard error.
  """

  name = "feedback"
  prompt_width = WIDTH
  completion_width = WIDTH
  k = 2
  scenario = "pairs of people, judged by a reward model"
  words = (f"--world={name}", "--data=FOLDER")
  scale = (
    "A model of about 100 thousand parameters, trained from nothing on the "
    "openings of a few hundred replies, learns from real preferences of people "
    "and is judged by a reward model of its own size. Its text is no "
    "English worth reading. The board says how the losses behave on an "
    "off-policy log of real labels; it does not say which would win on a large "
    "model with human judges."
  )

  def __init__(self, folder: str | os.PathLike[str], **judge: Any):
    """Reads the conversations and trains the judge, in about half a minute.

    Args:
      folder: that holds `FOLDER`.
      judge: sizes of the judge other than its own, such as `steps`.

    Raises:
      UserError: where there is no feedback, or too little.
    """
    found = conversations.read(pathlib.Path(folder) / FOLDER)
    parts = {
      part: [talk for talk in found if talk.part == part]
      for part in conversations.PARTS
    }
    for part, talks in parts.items():
      if not talks:
        raise UserError(
          f"{len(found)} conversations are too few: none of them falls to "
          f"{part!r}"
        )
    self._encoder = Encoder(
      [text for talk in parts["train"] for text in _texts(talk)]
    )
    self.vocab = self._encoder.vocab
    pairs = {part: self._pairs(talks) for part, talks in parts.items()}
    self._log = pairs["train"]
    self._written = self._replies(
      [turn for talk in parts["train"] for turn in talk.replies]
    )
    read = [
      turn
      for talk in parts["judge"]
      for turn in (*talk.replies, (talk.turns[-1][1], talk.rejected))
    ]
    self._seen = _Seen()
    for known in (pairs["judge"], self._log, self._written):
      self._seen.new(known.prompts)
    # Of equal prompts the first is kept; a test prompt is no validation one.
    self._prompts = {
      "sft": self._written.prompts,
      "train": self._log.prompts,
      "test": self._seen.new(pairs["test"].prompts),
      "validation": self._seen.new(pairs["validation"].prompts),
    }
    self.judge = Judge(
      len(self.vocab), self._replies(read), pairs["judge"], **judge
    )
    held = [pairs[part] for part in ("train", "validation", "test")]
    right = np.concatenate([self.judge.right(part) for part in held])
    self.accuracy = (
      float(right.mean()),
      float(right.std(ddof=1) / len(right) ** 0.5),
    )
    self._held = len(right)

  @property
  def sft_steps(self) -> int:
    """Updates of the fine-tuning."""
    return min(SFT_STEPS, sizes.SFT_STEPS)

  @property
  def remarks(self) -> list[str]:
    """What a board of this world has to say about its judge and log."""
    rate, error = self.accuracy
    longest = self._log.mask[:, 0].shape[-1]
    whole = float((self._log.mask.sum(axis=-1) < longest).mean())
    return [
      f"the judge agrees with people on {rate:.3f} ± {error:.3f} of "
      f"{self._held} pairs of conversations that it was not trained on (chance "
      "is .5): a win rate here says what the judge prefers, and people would "
      "agree with it about that often.",
      f"{len(self._log.prompts)} pairs are the log, of which each seed has "
      f"{LOGGED:.0%}; {len(self._prompts['test'])} test prompts. Prompts and "
      f"replies are cut to {WIDTH} tokens; {whole:.0%} of the logged replies "
      "end before that.",
      "the fine-tuning has the chosen replies of the log among its "
      "demonstrations, as is the custom; validation, test and judge share no "
      "conversation with them.",
    ]

  def prompts(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws n prompts of the log, with repeats."""
    return self._log.prompts[rng.integers(0, len(self._log.prompts), n)]

  def prompts_of(
    self, stream: str, n: int, rng: np.random.Generator
  ) -> np.ndarray:
    """At most n of a stream's prompts, in an order of their own.

    There are as many as there are: no prompt comes twice, but for those of
    "sft", of which n are drawn.
    """
    if stream not in self._prompts:
      raise UserError(
        f"no prompts belong to {stream!r}{suggest(stream, self._prompts)} "
        f"(streams: {', '.join(self._prompts)})"
      )
    found = self._prompts[stream]
    if stream == "sft":
      return found[rng.integers(0, len(found), n)]
    return found[rng.permutation(len(found))[:n]]

  def demonstrations(
    self, prompts: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """A reply that was written to each prompt of the stream "sft".

    Returns:
      int32 tokens [n, completion_width], PAD after the end, and the bool mask
      of the tokens that count.
    """
    places = self._places
    picked = np.array([rng.choice(places[row.tobytes()]) for row in prompts])
    return self._written.tokens[picked, 0], self._written.mask[picked, 0]

  @functools.cached_property
  def _places(self) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(self._written.prompts):
      places.setdefault(row.tobytes(), []).append(i)
    return places

  def given(self, seed: int) -> Given:
    """The log of a seed: other conversations, and the pairs' sides, by it."""
    rng = self.generator("train", seed)
    n = max(round(LOGGED * len(self._log.prompts)), 1)
    rows = rng.permutation(len(self._log.prompts))[:n]
    # Which reply comes first must not tell which was chosen.
    order = rng.permuted(np.tile([0, 1], (n, 1)), axis=1)
    each = rows[:, None]
    return Given(
      self._log.prompts[rows],
      self._log.tokens[each, order],
      self._log.mask[each, order],
      np.array([1.0, 0.0])[order],
    )

  def gold_reward(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """The judge's scores, in log-odds of being preferred.

    Args:
      prompts: [n, prompt_width].
      tokens: [n, completion_width] or [n, K, completion_width].
      mask: like `tokens`.

    Returns:
      float64 [n] or [n, K].
    """
    if tokens.ndim == 3:
      return self.judge.scores(Replies(prompts, tokens, mask))
    rows = Replies(prompts, tokens[:, None], mask[:, None])
    return self.judge.scores(rows)[:, 0]

  def exact(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> None:
    """None: there is no right answer."""

  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """Nothing: the log is as people made it."""
    return np.zeros(len(prompts))

  def samples(
    self,
    prompts: np.ndarray,
    tokens: np.ndarray,
    mask: np.ndarray,
    gold: np.ndarray,
  ) -> list[Sample]:
    """None: rows carry no text of the data."""
    return []

  def _pairs(self, talks: Sequence[Conversation]) -> Replies:
    chosen, rejected = (
      self._encoder.replies([getattr(talk, side) for talk in talks], WIDTH)
      for side in ("chosen", "rejected")
    )
    return Replies(
      self._encoder.prompts([talk.turns[-1][1] for talk in talks], WIDTH),
      np.stack([chosen[0], rejected[0]], axis=1),
      np.stack([chosen[1], rejected[1]], axis=1),
    )

  def _replies(self, turns: Sequence[tuple[str, str]]) -> Replies:
    tokens, mask = self._encoder.replies([said for _, said in turns], WIDTH)
    prompts = self._encoder.prompts([asked for asked, _ in turns], WIDTH)
    return Replies(prompts, tokens[:, None], mask[:, None])


class _Seen:
  """Prompts seen so far, as tokens."""

  def __init__(self) -> None:
    self._held: set[bytes] = set()

  def new(self, prompts: np.ndarray) -> np.ndarray:
    """Those of the rows that were not seen, each once; all are seen then."""
    kept = []
    for row in prompts:
      key = row.tobytes()
      if key not in self._held:
        self._held.add(key)
        kept.append(row)
    return np.array(kept, np.int32).reshape(-1, prompts.shape[1])


def _texts(talk: Conversation) -> list[str]:
  return [*(text for _, text in talk.turns), talk.chosen, talk.rejected]
