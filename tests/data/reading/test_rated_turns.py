"""Ratings in messages: each rated turn is a completion of its own."""

import pytest

from offalign import data, losses
from offalign.data.reading import rated_turns
from offalign.data.reading.record_rows import rows_of
from offalign.errors import UserError


def talk(*turns):
  """Messages, user first; a turn of the assistant is (text, rating)."""
  out = [{"role": "system", "content": ""}]
  for text, said in turns:
    out += [
      {"role": "user", "content": f"{text}?"},
      {"role": "assistant", "content": text, **said},
    ]
  return {"messages": out}


THUMBS = [
  talk(("a", {"label": True}), ("b", {}), ("c", {"label": False}), ("d", {})),
  talk(("e", {})),
  talk(("f", {"label": True})),
]


def test_each_rated_turn_is_a_row_that_follows_what_came_before():
  table = data.load(THUMBS)
  loss = losses.get("kto")
  view = data.view(table.records, loss.kind, loss.needs)
  found = [
    (len(row.prompt), row.completions[0], row.labels, row.sources[0])
    for row in view.rows
  ]
  assert found == [
    (1, "a", (True,), "the list:0[0]"),
    (5, "c", (False,), "the list:0[1]"),
    (1, "f", (True,), "the list:2"),
  ]
  assert "1 row left out as not rated: no message with a 'label'" in str(
    table.summary
  )
  assert "3 turns of 2 conversations" in str(view.summary)
  assert view.summary.counts["completions"] == 3
  # What a run holds out is written as rows that read back alike.
  again = [row for record in table.records for row in rows_of(record)]
  assert data.view(data.load(again).records, loss.kind, loss.needs).rows == (
    *(
      view.rows[i].__class__(
        *(view.rows[i].prompt, view.rows[i].completions, None),
        view.rows[i].labels,
        (f"the list:{i}",),
      )
      for i in range(3)
    ),
  )


def test_a_conversation_is_held_out_whole_and_rewards_may_rate():
  rows = [
    talk((f"a{i}", {"reward": i}), (f"b{i}", {"reward": -i})) for i in range(4)
  ]
  records = data.load(rows).records
  train, held = data.split_by_prompt(records, 0.5)
  loss = losses.get("dro_v")
  found = [
    sorted(row.rewards[0] for row in data.view(r, loss.kind, loss.needs).rows)
    for r in (train, held)
  ]
  assert all(x == sorted(-y for y in x) for x in found)
  assert [len(x) for x in found] == [4, 4]


def test_tools_come_before_the_turns_that_were_rated():
  row = THUMBS[0] | {
    "tools": [{"type": "function", "function": {"name": "add"}}]
  }
  (record,) = data.load([row]).records
  first, last = rated_turns.each(record)
  assert [m.role for m in first.prompt] == ["tools", "user"]
  assert (first.completions, last.completions) == (("a",), ("c",))
  assert (first.labels, last.labels) == ((True,), (False,))


@pytest.mark.parametrize(
  ("rows", "sentence"),
  [
    (
      [talk(("a", {"reward": 1})), talk(("b", {"label": True}))],
      "message 2 has a 'label', and other messages have a 'reward'",
    ),
    (
      [talk(("a", {"reward": 1})), talk(("b", {"reward": "good"}))],
      "message 2, 'reward': the text 'good' where a number",
    ),
    (
      [
        {
          "messages": [
            {"role": "assistant", "content": "hi", "label": True},
          ]
        }
      ],
      "one message alone|nothing comes before it",
    ),
    (
      [talk(("a", {}))] * 200 + [talk(("b", {"reward": 1}))],
      "row 200 of the list, column 'messages': a message has a 'reward'",
    ),
    (
      [talk(("a", {"reward": 1})) | {"completion_ids": [1]}],
      "rates turns in its messages \\('reward'\\), and has a column",
    ),
  ],
)
def test_ratings_that_are_none_are_refused(rows, sentence):
  with pytest.raises(UserError, match=sentence):
    data.load(rows)


def test_a_column_rates_the_last_turn_and_texts_rate_nothing():
  both = talk(("a", {"label": True})) | {"reward": 0.5}
  table = data.load([both])
  assert table.records[0].rewards == (0.5,)
  assert "keys of messages not read: 'label'" in str(table.summary)
  table = data.load([talk(("a", {"label": "safe"}))])
  assert table.records[0].labels is None
