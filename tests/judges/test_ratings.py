"""People's ratings as a judge, and how far they agree."""

import csv
import json
import math

import numpy as np
import pytest

from offalign import judges
from offalign.errors import UserError
from offalign.judges import ratings
from offalign.statistics.outcomes import prompt_id


def rated(prompt, left, right, preferred, rater="ann"):
  return {
    "prompt": prompt,
    "left": left,
    "right": right,
    "preferred": preferred,
    "rater": rater,
  }


ROWS = [
  rated("p", "x", "y", "left"),
  rated("p", "y", "x", "tie", "bob"),
  rated("q", "x", "y", "right"),
]


def digests(row):
  names = ("prompt", "left", "right")
  return {**row, **{name: prompt_id(row[name]) for name in names}}


def save(path, rows):
  if path.suffix == ".csv":
    with path.open("w", newline="") as file:
      writer = csv.DictWriter(file, list(rows[0]))
      writer.writeheader()
      writer.writerows(rows)
  elif path.suffix == ".jsonl":
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  else:
    path.write_text(json.dumps({"ratings": rows}))
  return path


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.csv"])
@pytest.mark.parametrize("form", [dict, digests])
def test_ratings_are_a_judge_whichever_side_stood_on_the_left(
  name, form, tmp_path
):
  file = save(tmp_path / name, [form(row) for row in ROWS])
  judge = judges.make(f"ratings(file='{file}')")
  assert judge.spec == f"ratings(file='{file}')"
  said = judge.compare(
    ["p", "p", "q", "q", "q"],
    ["x", "y", "x", "z", "z"],
    ["y", "x", "y", "x", "z"],
  )
  np.testing.assert_equal(said.preferences, [0.75, 0.25, 0.0, math.nan, 0.5])
  assert said.counts == {"ties": 1, "ratings": 5, "raters": 2, "unrated": 1}


def test_a_folder_has_a_file_for_each_rater(tmp_path):
  save(tmp_path / "ann.json", ROWS[:1])
  save(tmp_path / "bob.csv", ROWS[1:2])
  (tmp_path / "notes.txt").write_text("not ratings")
  assert len(ratings.read(tmp_path)) == 2


def test_conversations_are_known_by_their_turns(tmp_path):
  talk = [{"role": "user", "content": "Hi"}]
  file = save(tmp_path / "r.json", [rated(talk, "x", "y", "left")])
  said = judges.make(f"ratings(file='{file}')").compare(
    [(("user", "Hi"),)], ["x"], ["y"]
  )
  assert said.preferences.tolist() == [1.0]


@pytest.mark.parametrize(
  ("rows", "sentence"),
  [
    ([], "holds no rating"),
    ([3], "rating 1 is no rating: 3"),
    ([{"prompt": "p"}], "rating 1 has no 'left'"),
    ([rated("p", "x", "y", "best")], "'preferred' is 'best', not left, right"),
    ([rated("p", "x", "x", "left")], "'left' and 'right' are one text"),
    (
      [rated("p", "x", "y", "left"), rated("p", "y", "x", "left")],
      "rating 2: ann rated this pair in .* rating 1 already",
    ),
  ],
)
def test_what_is_no_rating_is_named(rows, sentence, tmp_path):
  with pytest.raises(UserError, match=sentence):
    ratings.read(save(tmp_path / "r.json", rows))


@pytest.mark.parametrize(
  ("text", "sentence"),
  [("{", "is not JSON"), ('"x"', "neither a list of ratings nor an object")],
)
def test_another_file_is_refused(text, sentence, tmp_path):
  file = tmp_path / "r.json"
  file.write_text(text)
  with pytest.raises(UserError, match=sentence):
    ratings.read(file)
  with pytest.raises(UserError, match="cannot be read as text"):
    ratings.read(tmp_path / "none.json")
  with pytest.raises(UserError, match="needs a file"):
    judges.make("ratings")


def test_raters_agree_as_their_kappas_say(tmp_path):
  rng = np.random.default_rng(0)
  rows = []
  for i in range(60):
    for rater in ("ann", "bob", "eve"):
      # Eve answers by chance; Ann and Bob say the same.
      choice = "left" if i % 3 else "right"
      if rater == "eve":
        choice = str(rng.choice(["left", "right"]))
      rows.append(rated(f"p{i}", f"a{i}", f"b{i}", choice, rater))
  found = ratings.read(save(tmp_path / "r.json", rows))
  kappas = ratings.kappas(found)
  cohen = {(a, b): kappa for a, b, _, kappa in kappas["cohen"]}
  assert cohen["ann", "bob"] == 1.0
  assert abs(cohen["ann", "eve"]) < 0.3
  assert (kappas["pairs"], kappas["raters"]) == (60, 3)
  assert 0.1 < kappas["fleiss"] < 0.6
  prompts = [f"p{i}" for i in range(60)]
  a, b = [f"a{i}" for i in range(60)], [f"b{i}" for i in range(60)]
  people = judges.make(f"ratings(file='{tmp_path / 'r.json'}')")
  said = people.compare(prompts, a, b)
  assert ratings.with_judge(found, prompts, a, b, said) == (1.0, 60)
  assert (
    ratings.with_judge(
      found, ["z"], ["x"], ["y"], said.__class__(np.array([1.0]), {})
    )[1]
    == 0
  )


def test_one_rater_agrees_with_nobody():
  kappas = ratings.kappas([ratings.Rating("p", "x", "y", "left", "ann")])
  assert kappas["pairs"] == 0
  assert math.isnan(kappas["fleiss"])
