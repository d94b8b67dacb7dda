import numpy as np
import pytest

from benchmarks import ops_world as world
from benchmarks import rates


def test_the_judge_of_texts_is_the_gold_reward_of_tokens():
  rng = world.generator("labels", 0)
  prompts = world.prompts(200, rng)
  tokens, mask = world.demonstrations(prompts, rng)
  right = world.gold_reward(prompts, tokens, mask)
  found = [
    rates.gold(rates.prompt_text(p), rates.completion_text(t, m))
    for p, t, m in zip(prompts, tokens, mask, strict=True)
  ]
  ended = (mask & (tokens == world.EOS)).any(axis=1)
  assert np.array(found)[ended] == pytest.approx(right[ended])


def test_texts_are_readable_and_what_is_no_token_counts_as_um():
  prompt = np.array([world.REV, 9, 10, 11, world.PAD, world.PAD, world.SEP])
  assert rates.prompt_text(prompt) == "Rabc>"
  assert rates.gold("Rabc>", "cba!") == 1.75
  assert rates.gold("Rabc>", "cba?!") == pytest.approx(1.65)
  assert rates.gold("Rabc>", "") == 0.0
