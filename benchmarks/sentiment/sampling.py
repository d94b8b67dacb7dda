"""Complete openings and score what was written."""

import dataclasses
import functools
from collections.abc import Sequence

from benchmarks.sentiment import folder as folders
from benchmarks.sentiment import openings
from benchmarks.sentiment.folder import BASES, Completion, Folder
from benchmarks.sentiment.scores import Score
from benchmarks.sentiment.sizes import Sizes
from offalign import Policy

_TEST_SEED = 1  # of the trained policies' test completions
BATCH = 32


def complete(
  policy: Policy,
  asked: Sequence[str],
  sizes: Sizes,
  score: Score,
  *,
  seed: int,
  samples: int = 1,
) -> list[Completion]:
  """Completes openings at temperature 1 and scores the completions.

  Args:
    policy: the policy.
    asked: the openings.
    sizes: the limit of tokens.
    score: the lexicon.
    seed: of the samples; those of two policies differ all the same.
    samples: completions of each opening, which lie side by side.
  """
  done = policy.generate(
    asked,
    max_new_tokens=sizes.tokens,
    samples=samples,
    seed=seed,
    batch_size=BATCH,
    verbose=False,
  )
  prompts = [prompt for prompt in asked for _ in range(samples)]
  return [
    Completion(prompt, x.text, score(prompt, x.text), x.finished, x.tokens)
    for prompt, x in zip(prompts, done, strict=True)
  ]


def log(folder: Folder, base: Policy, sizes: Sizes, score: Score) -> None:
  """Writes the log of samples, the held-out one, and the two base draws.

  A file that is there is kept. A completion without text is left out of the
  logs, since there is nothing in it to learn from.

  Args:
    folder: of the results.
    base: the model that nobody has trained here.
    sizes: how many.
    score: the lexicon.
  """
  draw = functools.partial(complete, base, sizes=sizes, score=score)
  parts = openings.read("train"), openings.read("validation")
  for path, asked, samples in (
    (folder.log, parts[0][: sizes.openings], sizes.samples),
    (folder.held_out, parts[1][: sizes.validation], 2),
  ):
    if not path.exists():
      found = draw(asked, seed=0, samples=samples)
      folders.write(path, [x for x in found if x.completion.strip()])
  for number, name in enumerate(BASES):
    path = folder.completions(name)
    if not path.exists():
      folders.write(path, draw(test(sizes), seed=_TEST_SEED + number))


def of_test(policy: Policy, sizes: Sizes, score: Score) -> list[Completion]:
  """A trained policy's completions of the test openings."""
  return complete(policy, test(sizes), sizes, score, seed=_TEST_SEED)


def test(sizes: Sizes) -> list[str]:
  """The test openings."""
  return openings.read("test")[: sizes.test]


def with_log_ratios(
  found: list[Completion], policy: Policy, base: Policy, sizes: Sizes
) -> list[Completion]:
  """Adds the log-ratios to the base model of the first `sizes.kl` that have
  text. Their mean estimates the KL of a completion, in nats.

  Args:
    found: the policy's own completions.
    policy: the policy.
    base: the model that it started from.
    sizes: how many, and the limit of tokens.
  """
  places = [i for i, x in enumerate(found) if x.completion.strip()]
  places = places[: sizes.kl]
  rows = [
    {"prompt": found[i].prompt, "completion": found[i].completion}
    for i in places
  ]
  if not rows:
    return found
  ours, theirs = (
    each.logps(rows, form="sft", max_completion=sizes.tokens, batch_size=16)
    for each in (policy, base)
  )
  out = list(found)
  for i, ratio in zip(places, (ours - theirs).tolist(), strict=True):
    out[i] = dataclasses.replace(out[i], log_ratio=ratio)
  return out
