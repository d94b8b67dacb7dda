"""Prompts of the same tokens are on one side of the held-out split."""

import numpy as np
import pytest

from offalign import data, losses
from offalign.config.config import DataConfig
from offalign.errors import UserError, render
from offalign.training import inputs


def read(path, seed=0, **options):
  return inputs.read(
    DataConfig(path=str(path), **options),
    losses.get("dpo"),
    lambda texts: data.make_tokenizer("byte"),
    seed=seed,
  )


def pairs(prompts, tag=""):
  return [
    {"prompt": prompt, "chosen": f"yes {i}{tag}", "rejected": f"no {i}{tag}"}
    for i, prompt in enumerate(prompts)
  ]


# Four ways to open each of eight questions; a limit of ten leaves the end.
PROMPTS = [
  f"{opening}, question {i}"
  for i in range(8)
  for opening in ("Sir", "Madam", "Friend", "Reader")
]


@pytest.mark.parametrize("seed", range(5))
def test_no_tokens_are_on_both_sides(seed, write):
  path = write(pairs(PROMPTS))
  found = read(path, seed, max_prompt=11, eval_fraction=0.25)
  train, held = found.train, found.held_out
  assert len(train) == 24
  assert len(held) == 8
  assert not np.isin(held.prompt_digests, train.prompt_digests).any()
  assert {str(p)[-1] for p in found.held_prompts} == {
    str(PROMPTS[int(s[0].split(":")[-1].split("[")[0])])[-1]
    for s in held.sources
  }
  said = [s for s in found.sentences if s.startswith("held out 8 of 32 rows")]
  assert said == [
    "held out 8 of 32 rows, all rows of 25% of the prompts (those of the same "
    "tokens are one)"
  ]
  # A run that goes on finds the same.
  again = read(path, seed, max_prompt=11, eval_fraction=0.25)
  assert again.fingerprint == found.fingerprint
  assert again.sentences == found.sentences


@pytest.mark.parametrize("seed", range(3))
def test_the_split_of_distinct_tokens_is_that_of_the_text(seed, write):
  path = write(pairs(PROMPTS))
  found = read(path, seed, eval_fraction=0.25)
  records = data.load(str(path)).records
  train, held = data.split_by_prompt(records, 0.25, seed=seed)
  assert found.held_prompts == tuple(r.prompt for r in held)
  assert len(found.train) == len(train)


def test_prompts_that_are_all_the_same_tokens(write):
  path = write(pairs(PROMPTS[:4]))
  with pytest.raises(UserError) as error:
    read(path, max_prompt=11, eval_fraction=0.25)
  assert render(error.value) == (
    "the 4 prompts differ as text and are the same tokens, so that none can "
    "be held out: data.max_prompt=11 cuts off what differs, and "
    "data.max_prompt=15 is the least that keeps it; or set data.eval_fraction=0"
  )


def test_too_few_prompts_as_tokens(write):
  path = write(pairs(PROMPTS[:8]))
  with pytest.raises(UserError) as error:
    read(path, max_prompt=11, eval_fraction=0.125)
  assert render(error.value).startswith(
    "data.eval_fraction, by prompts that differ as tokens: a held-out fraction "
    "of 0.125 of 2 prompts leaves one side empty"
  )


def test_held_out_data_of_its_own(write):
  train = write(pairs(PROMPTS[:16]), "train.jsonl")
  held = write(
    pairs([f"Sister, question {i}" for i in range(8)], "!") +
    pairs(["Sir, question 0"], "?"),
    "held.jsonl",
  )  # fmt: skip
  found = read(train, eval_path=str(held), max_prompt=11)
  said = [s for s in found.sentences if "held-out figures flatter" in s]
  assert said[0].startswith("warning: 1 of 9 held-out rows have a prompt of")
  assert said[1].startswith(
    "warning: 4 of 9 held-out rows have a prompt that is a prompt of the "
    "training data as tokens, though not as text"
  )
  assert "data.max_prompt=11 cuts off what differs, and" in said[1]
  assert len(found.held_out) == 9
  assert len(read(train, eval_path=str(held)).sentences) < len(found.sentences)
