"""Rated spans as rows, and what data says that a loss does not read."""

import pytest

from offalign import data, losses
from offalign.errors import UserError

RATED = [
  {"start": 0, "end": 2, "reward": 1.0},
  {"start": 3, "end": 5, "reward": -1.0, "weight": 2.0},
]
ROWS = [
  {"prompt": "p", "completion": "ab cd", "spans": RATED},
  {"prompt": "q", "completion": "ef", "spans": []},
]


def view(rows, loss, **options):
  loss = losses.get(loss)
  records = data.load(rows, **options).records
  return data.view(records, loss.kind, loss.needs)


def test_each_rated_span_is_a_row_in_which_it_alone_counts():
  found = view(ROWS, "weighted_dro_v")
  assert [row.rewards for row in found.rows] == [(1.0,), (-1.0,)]
  marks = [row.marks[0] for row in found.rows]
  assert [(m.outside, m.spans[0].weight) for m in marks] == [
    (0.0, 1.0),
    (0.0, 2.0),
  ]
  assert [row.sources for row in found.rows] == [
    ("the list:0[0]",),
    ("the list:0[1]",),
  ]
  counts = found.summary.counts
  assert (
    counts["completions_used"] + sum(found.summary.unused.values())
    == (counts["completions"])
  )
  assert "2 spans of 1 completion" in str(found.summary)
  thumbs = [{"start": 0, "end": 1, "label": good} for good in (True, False)]
  rows = [
    {"prompt": "p", "completion": f"{i}", "spans": [span]}
    for i, span in enumerate(thumbs)
  ]
  assert "rewards made from labels" in str(view(rows, "weighted_dro_v").summary)


@pytest.mark.parametrize(
  ("rows", "loss", "sentence"),
  [
    (ROWS, "dro_v", "the data rates parts of them; weighted_dro_v trains on"),
    (ROWS, "kto", "the data rates parts of them"),
    (
      [{"prompt": "p", "completion": "ab", "reward": 1.0}],
      "weighted_dro_v",
      "needs weights of tokens, and no completion has any",
    ),
    (
      [
        {
          "prompt": "p",
          "completion": "ab cd",
          "reward": 1.0,
          "spans": RATED[:1],
        }
      ],
      "weighted_dro_v",
      "take that out to train on the ratings of spans",
    ),
    (
      [{"prompt": "p", "chosen": "a", "rejected": "b"}],
      "weighted_dpo",
      "needs weights of tokens",
    ),
  ],
)
def test_what_a_loss_cannot_read_is_refused(rows, loss, sentence):
  with pytest.raises(UserError, match=sentence):
    view(rows, loss)


def test_what_a_loss_does_not_read_is_said():
  whole = [{**ROWS[0], "reward": 0.5}]
  said = str(view(whole, "dro_v").summary)
  assert "the weights of tokens and spans are not read by this loss" in said
  assert "the ratings of tokens, spans and steps are not read" in said
  said = str(view(whole, "weighted_dro_v").summary)
  assert "the weights of tokens" not in said
  assert "the ratings of tokens" in said
  assert "not read" not in str(view(ROWS, "weighted_dro_v").summary)
  assert view(whole, "dro_v").rows[0].marks is None


def test_sides_that_repeat_in_pairs_keep_the_first_spans():
  pairs = [
    {
      "prompt": "p",
      "chosen": "ab",
      "rejected": y,
      "chosen_spans": [{"start": 0, "end": 1, "weight": w}],
      "rejected_spans": None,
    }
    for y, w in (("c", 2.0), ("d", 3.0))
  ]
  found = view(pairs, "weighted_dro_v")
  weights = [[span.weight for span in row.marks[0].spans] for row in found.rows]
  assert weights == [[2.0], [], []]
  assert "1 side logged with other spans than before" in str(found.summary)
  found = view(pairs, "weighted_dpo")
  assert [row.marks[0].spans[0].weight for row in found.rows] == [2.0, 3.0]
