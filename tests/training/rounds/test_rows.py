"""Rows of samples: pairs, groups, labels; tokens as they were drawn."""

import dataclasses
import types

import numpy as np
import pytest

from offalign import losses
from offalign.config import DataConfig, GrowConfig
from offalign.config.grow import parse_thresholds
from offalign.data import batch
from offalign.data.text.ragged import Ragged
from offalign.errors import UserError
from offalign.training.rounds import rows
from offalign.training.rounds.drawing import Drawn
from offalign.training.rounds.kept import Samples
from offalign.types import Kind

PROMPTS = Ragged.of([np.array([1, 2]), np.array([3]), np.array([4, 5, 6])])
# Two prompts, 2 and 0, of four samples; the first two are the same tokens.
TOKENS = [[7, 9], [7, 9], [8, 9], [7, 8, 9], [9], [8, 8], [7], [7, 7]]
SAMPLES = Samples(
  np.array([2, 0]),
  Drawn(
    Ragged.of([np.array(t, np.int32) for t in TOKENS]),
    np.full(8, -1, np.float32),
    Ragged.of(
      [np.full(len(t), (i - 8) / len(t)) for i, t in enumerate(TOKENS)],
      np.float32,
    ),
    np.ones(8, bool),
  ),
  np.array([[1.0, 3.0, 2.0, 0.0], [5.0, 5.0, 4.0, 6.0]]),
)


def make(spec, data=None, threshold=None, samples=SAMPLES, **grow):
  loss = losses.get(spec) if isinstance(spec, str) else spec
  options = rows.options(
    DataConfig(**(data or {})),
    GrowConfig(score="f", **grow),
    loss,
    threshold,
  )
  return rows.make(
    samples,
    PROMPTS,
    loss,
    options,
    seed=0,
    name="round 3",
    pad_id=0,
    lengths=(4, 3),
    threshold=threshold,
  )


def test_pairs_are_the_best_and_the_worst_with_the_tokens_as_drawn():
  found = make("dpo", {"pairs": "best_worst"})
  assert found.completion_index.tolist() == [[1, 3], [7, 6]]
  host = batch(found, np.arange(2))
  assert host.prompts.tolist() == [[4, 5, 6, 0], [1, 2, 0, 0]]
  assert host.completions.tolist() == [
    [[7, 9, 0], [7, 8, 9]],
    [[7, 7, 0], [7, 0, 0]],
  ]
  assert found.sources[0] == ("round 3, prompt 0[1]", "round 3, prompt 0[3]")


def test_groups_have_all_samples_and_their_own_log_probs():
  found = make("grpo(behaviour=logged, clip=0.2, beta=0.0)")
  assert found.kind is Kind.GROUP
  np.testing.assert_array_equal(found.rewards, SAMPLES.scores)
  np.testing.assert_allclose(
    found.behaviour_logps, np.arange(-8, 0).reshape(2, 4), rtol=1e-6
  )
  assert found.behaviour_token_logps is None  # this loss reads sums
  # Samples of the same tokens stay two.
  assert found.completion_index.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_loss_on_tokens_gets_the_log_prob_of_each():
  needs = ("rewards", "behaviour_token_logps")
  found = make(types.SimpleNamespace(kind=Kind.SINGLE, needs=needs))
  host = batch(found, np.array([3, 0]))
  np.testing.assert_allclose(
    host.behaviour_token_logps,
    [[[-5 / 3] * 3], [[-4, -4, 0]]],
    rtol=1e-6,
  )
  assert host.behaviour_token_logps.dtype == np.float32
  both = rows.join([found, found], (4, 3))
  np.testing.assert_array_equal(
    batch(both, np.array([8 + 3])).behaviour_token_logps,
    host.behaviour_token_logps[:1],
  )


@pytest.mark.parametrize(
  ("spec", "data", "index"),
  [
    ("dro_v", {}, [[0], [2], [3], [4], [5], [6], [7]]),
    ("dpo", {"pairs": "best_worst"}, [[2, 3], [7, 6]]),
    ("rloo(beta=0.0)", {}, [[4, 5, 6, 7]]),
    ("rloo(beta=0.0)", {"group_size": 2}, [[0, 2], [4, 5], [6, 7]]),
  ],
)
def test_a_sample_without_a_score_is_in_no_row(spec, data, index):
  scores = SAMPLES.scores.copy()
  scores[0, 1] = np.nan  # the best of its prompt
  samples = dataclasses.replace(SAMPLES, scores=scores)
  found = make(spec, data, samples=samples)
  assert found.completion_index.tolist() == index
  scores[0] = np.nan
  found = make(spec, data, samples=samples)
  assert found.completion_index.tolist() == [i for i in index if i[0] > 3]
  assert found.prompt_index.tolist() == [0] * len(found)
  (cut,) = parse_thresholds("mean")
  assert rows.threshold_of(cut, samples) == 5


def test_where_no_row_is_left_the_missing_scores_are_named():
  scores = SAMPLES.scores.copy()
  scores[:, 1] = np.nan
  samples = dataclasses.replace(SAMPLES, scores=scores)
  with pytest.raises(UserError, match=r"round 3: 2 of 8 samples got no score"):
    make("rloo(beta=0.0)", samples=samples)


@pytest.mark.parametrize(
  ("label", "good"),
  [
    (None, [4, 5, 6, 7]),
    ("prompt_mean", [1, 2, 7]),
    ("4", [4, 5, 7]),
  ],
)
def test_labels_are_of_scores(label, good):
  found = make("kto", label=label)
  assert np.flatnonzero(found.labels).tolist() == good
  assert len(found) == 8


def test_a_threshold_labels_or_leaves_out():
  labelled = make("sft(on=desirable)", threshold=4.5)
  assert np.flatnonzero(labelled.labels).tolist() == [4, 5, 7]
  left = make("sft", threshold=4.5)
  assert left.completion_index[:, 0].tolist() == [4, 5, 7]
  assert left.prompt_index.tolist() == [0, 0, 0]
  with pytest.raises(UserError, match=r"no sample scores above 6 .* best.* 6"):
    make("sft", threshold=6.0)


def test_thresholds_are_of_the_scores_of_the_round():
  mean, share = parse_thresholds("mean, 50%")
  assert rows.threshold_of(mean, SAMPLES) == 3.25
  assert rows.threshold_of(share, SAMPLES) == 3.0
  assert rows.threshold_of(None, SAMPLES) is None


def test_the_options_of_views_apply():
  best = make("sft", {"best_of_n": 0})
  assert best.completion_index[:, 0].tolist() == [1, 7]
  pairs = make("rebel(eta=1.0)", {"pairs": "adjacent"})
  assert pairs.rewards.tolist() == [[3, 1], [2, 0], [5, 5], [6, 4]]


@pytest.mark.parametrize(
  ("spec", "data", "each"),
  [
    ("dro_v", {}, 4),
    ("rloo(beta=0.0)", {}, 1),
    ("rloo(beta=0.0)", {"group_size": 2}, 2),
    ("dpo", {}, 6),
    ("dpo", {"pairs": "best_worst"}, 1),
    ("dpo", {"pairs": "random"}, 2),
    ("sft", {"best_of_n": 0}, 1),
    ("sft", {"top_fraction": 0.5}, 2),
  ],
)
def test_how_many_rows_a_prompt_makes(spec, data, each):
  loss = losses.get(spec)
  config = DataConfig(**data)
  options = rows.options(config, GrowConfig(score="f"), loss, None)
  assert rows.a_prompt(options, loss, 4) == each


def test_joined_rows_are_those_of_their_parts():
  one, other = make("sft", threshold=4.5), make("sft", {"best_of_n": 0})
  both = rows.join([one, other], (4, 3))
  assert len(both) == 5
  for i, (part, at) in enumerate([*((one, i) for i in range(3)), (other, 0)]):
    found, expected = (
      batch(x, np.array([j])) for x, j in ((both, i), (part, at))
    )
    np.testing.assert_array_equal(found.prompts, expected.prompts)
    np.testing.assert_array_equal(found.completions, expected.completions)
    np.testing.assert_array_equal(found.rewards, expected.rewards)
  assert both.keys() == [*one.keys(), *other.keys()]
  assert both.behaviour_logps is None
