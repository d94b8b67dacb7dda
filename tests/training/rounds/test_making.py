"""Who writes and scores the samples of a round, and from which seed."""

import dataclasses

import numpy as np
import pytest

from offalign.config import Config, GrowConfig
from offalign.data.text.ragged import Ragged
from offalign.distributed.signals import Stop
from offalign.errors import UserError
from offalign.training.rounds import making
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.making import (
  HELD_JUDGE,
  HELD_SCORE,
  Maker,
  Other,
)
from offalign.training.rounds.prompts import Asked


@dataclasses.dataclass
class Recorder:
  """Stands for a drawer: a sample's tokens say who drew it, and how."""

  calls: list = dataclasses.field(default_factory=list)
  stop: Stop = dataclasses.field(default_factory=Stop)

  def draw(self, model, params, prompts, which, seeds):
    self.calls.append((model, params, which.tolist(), seeds.tolist()))
    tokens = [
      np.array([params, w, s % 1000]) for w, s in zip(which, seeds, strict=True)
    ]
    n = len(which)
    logps = seeds.astype(np.float32)
    return Drawn(Ragged.of(tokens), logps, Ragged.of(tokens), np.ones(n, bool))


class Tokens:
  """Stands for a tokenizer."""

  end_ids = (0,)

  def decode(self, row):
    return "/".join(map(str, row.tolist()))


def maker(other=None, score=None, seed=0, held=(), judge=None, **grow):
  config = Config(
    seed=seed, grow=GrowConfig(score="f", every=1, rounds=9, **grow)
  )
  prompts = tuple(f"p{i}" for i in range(5))
  tokens = Ragged.of([np.array([i]) for i in range(5)])
  return Maker(
    config=config,
    asked=Asked(prompts, tokens, 2, (1, 1)),
    drawer=Recorder(),
    model="model",
    score=score or (lambda pairs: np.arange(len(pairs), dtype=float)),
    tokenizer=Tokens(),
    other=other,
    held=held,
    judge=judge,
  )


def test_each_prompt_comes_once_before_any_comes_again():
  made = maker()
  drawn = np.concatenate([made.prompts(n) for n in range(1, 6)])
  assert sorted(drawn[:4].tolist() + drawn[4:5].tolist()) == [0, 1, 2, 3, 4]
  assert np.bincount(drawn).tolist() == [2] * 5


def test_seeds_are_of_the_run_the_round_and_the_place():
  def seeds(number, **options):
    made = maker(**options)
    made.make(number, 1)
    return made.drawer.calls[0][3]

  assert seeds(1) == seeds(1)
  assert len({*seeds(1), *seeds(2), *seeds(1, seed=1)}) == 24


def test_samples_are_scored_as_the_texts_of_their_prompts():
  seen = []

  def score(pairs):
    seen.extend(pairs)
    return np.arange(len(pairs))

  made = maker(score=score, samples=3)
  samples, texts = made.make(2, 7)
  assert samples.scores.tolist() == [[0, 1, 2], [3, 4, 5]]
  assert [text for _, text in seen] == texts
  assert [p for p, _ in seen] == [
    f"p{i}" for i in samples.prompts for _ in range(3)
  ]
  assert all(text.startswith("7/") for text in texts)


def test_the_other_policy_writes_the_second_half_of_each_prompt():
  made = maker(other=Other("mu", 9), samples=3)
  samples, texts = made.make(1, 7)
  assert [text[0] for text in texts] == list("779779")
  places = [int(text.rsplit("/", 1)[1]) for text in texts]
  first = places[0]
  assert [(p - first) % 1000 for p in places] == list(range(6))
  assert samples.drawn.logps.tolist() == sorted(samples.drawn.logps.tolist())


@pytest.mark.parametrize("bad", [[np.nan] * 8, [1.0]])
def test_a_score_that_is_none_is_named(bad):
  made = maker(score=lambda pairs: np.array(bad))
  with pytest.raises(UserError, match="it gave no finite number for each"):
    made.make(1, 0)


def test_held_out_prompts_get_the_same_random_numbers_each_time(monkeypatch):
  monkeypatch.setattr(
    making, "encode", lambda *_: (Ragged.of([np.array([1])] * 3), 0)
  )
  made = maker(held=("a", "b", "c"), score=lambda p: np.array([1.0, 2.0, 6.0]))
  one, other = made.held_score(3, 1), made.held_score(4, 1)
  assert one == other
  assert one[HELD_SCORE] == 3
  assert one[f"{HELD_SCORE}_error"] == pytest.approx(np.sqrt(7 / 3))
  calls = made.drawer.calls
  assert calls[0][2:] == calls[1][2:]
  assert maker().held_score(0, 1) == {}
  seen = []
  judged = dataclasses.replace(
    made, judge=lambda pairs: [len(seen.append(p) or seen) for p in pairs]
  )
  found = judged.held_score(3, 1)
  assert found.items() > one.items()
  assert (found[HELD_JUDGE], found[f"{HELD_JUDGE}_error"]) == (
    2,
    pytest.approx(np.sqrt(1 / 3)),
  )
  assert [prompt for prompt, _ in seen] == ["a", "b", "c"]
  bad = dataclasses.replace(made, judge=lambda pairs: [np.nan] * len(pairs))
  with pytest.raises(UserError, match=r"grow\.judge=None: it gave no finite"):
    bad.held_score(3, 1)


def test_held_out_prompts_are_drawn_by_the_seed():
  prompts = tuple(map(str, range(50)))
  grow = GrowConfig(score="f", eval_prompts=7)
  found = making.drawn(prompts, grow, 3)
  assert len(set(found)) == 7
  assert (
    found == making.drawn(prompts, grow, 3) != making.drawn(prompts, grow, 4)
  )
  assert making.drawn(prompts[:3], grow, 3) == prompts[:3]
