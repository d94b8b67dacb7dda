import pytest

from offalign import data
from offalign.data.reading import proposals
from offalign.errors import UserError


@pytest.mark.parametrize(
  ("row", "expected"),
  [
    (
      {"Prompt": "x", "completion": "y"},
      "prompt=Prompt, completion=completion",
    ),
    ({"question": "x", "answer": "y"}, "prompt=question, completion=answer"),
    (
      {"prompt": "x", "response": "y", "rating": 4},
      "completion=response, reward=rating",
    ),
    (
      {"user_input": "x", "model_output": "y", "thumb": "down"},
      "prompt=user_input, completion=model_output, label=thumb:up/down",
    ),
    (
      {"id": 1, "query": "x", "reply": "y", "vote": -1},
      "prompt=query, completion=reply, label=vote:1/-1",
    ),
    (
      {"question": "x", "winner": "a", "loser": "b"},
      "chosen=winner, rejected=loser, prompt=question",
    ),
    (
      {"dialog": [{"role": "user", "content": "a"}], "meta": {"stars": "5"}},
      "messages=dialog, reward=meta.stars",
    ),
    (
      {"chat": [{"from": "human", "value": "a"}], "liked": True},
      "conversations=chat, label=liked",
    ),
    (
      {"query": "x", "answers": ["a", "b"], "scores": [1, 2]},
      "prompt=query, completions=answers, rewards=scores",
    ),
    ({"\ufeffprompt ": "x", "text": "y"}, None),
    ({"a": "x", "b": "y"}, None),
    ({"question": "x", "answer": 3}, None),
  ],
)
def test_guesses(write, row, expected):
  found = proposals.propose(list(row), [row] * 3)
  if expected is None:
    assert all(entry.source.isprintable() for entry in found)
    return
  changed = [e for e in expected.split(", ") if len(set(e.split("="))) > 1]
  assert [str(entry) for entry in found] == changed
  with pytest.raises(UserError, match=r"make no form|without ") as error:
    data.load(write([row]))
  assert f"give columns='{', '.join(changed)}'" in str(error.value)
  if "chat" not in row and "dialog" not in row:  # those end in no reply
    data.load(write([row]), columns=", ".join(changed))


def test_the_case_of_a_name_is_said(write):
  with pytest.raises(UserError, match="'Prompt' is not 'prompt': write it so"):
    data.load(write([{"Prompt": "x", "completion": "y"}]))


def test_long_and_odd_names_are_cut():
  names = ["x" * 500, "a\x1b[2J", *(f"c{i}" for i in range(40))]
  shown = proposals.shown(names)
  assert len(shown) == 31
  assert max(map(len, shown)) < 70
  assert all(name.isprintable() for name in shown)


def test_neutral_values_become_a_third():
  rows = [{"vote": v} for v in (1, 0, -1)]
  assert proposals.for_feedback(["vote"], rows) == "label=vote:1/-1/0"
  assert proposals.for_feedback(["vote"], rows[:2]) == "label=vote:1/0"
  assert proposals.for_feedback(["vote"], rows[::2]) == "label=vote:1/-1"


def test_one_number_alone_is_a_score_but_in_a_column_of_thumbs():
  for name, entry in (
    ("score", "reward=score"),
    ("Reward", "reward=Reward"),
    ("thumb", "label=thumb:1/-1"),
  ):
    assert proposals.for_feedback([name], [{name: 1}]) == entry
  both = [{"Reward": 1}, {"Reward": 0}]
  assert proposals.for_feedback(["Reward"], both) == "reward=Reward"


def test_replies_that_are_all_numbers():
  rows = [
    {"question": f"{i} + 1 =", "answer": f" {i + 1}", "thumb": thumb}
    for i, thumb in enumerate(["up", "down"] * 3)
  ]
  found = proposals.propose(tuple(rows[0]), rows)
  assert [str(entry) for entry in found] == [
    "prompt=question",
    "completion=answer",
    "label=thumb:up/down",
  ]
