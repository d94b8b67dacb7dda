"""The files of the sample log: readable as they are, and never written over."""

import pytest

from offalign import data
from offalign.data.example import folder, shop
from offalign.errors import UserError
from offalign.user_code import load_file


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  return folder.write(tmp_path_factory.mktemp("x") / "to" / "example")


def test_what_is_written(written):
  assert {path.name for path in written.iterdir()} == set(folder.FILES)


@pytest.mark.parametrize(
  ("name", "columns"),
  [
    ("thumbs.jsonl", None),
    (
      "export.csv",
      "prompt=question, completion=answer, label=thumb:up/down",
    ),
    ("chats.jsonl", "label=feedback.score:1/-1"),
  ],
)
def test_thumbs_are_the_same_in_every_form(written, name, columns):
  options = {} if columns is None else {"columns": columns}
  found = data.load(str(written / name), **options).records
  rows = [row for row in shop.answers() if columns is None or row.rated]
  assert [r.completions for r in found] == [(row.answer,) for row in rows]
  assert [r.labels for r in found] == [(row.liked,) for row in rows]
  asked = [
    r.prompt if isinstance(r.prompt, str) else r.prompt[-1].content
    for r in found
  ]
  assert asked == [row.question for row in rows]


def test_stars_are_in_the_database(written):
  columns = "prompt=question, completion=answer, reward=stars"
  found = data.load(str(written / "ratings.db"), columns=columns).records
  stars = [(row.stars,) for row in shop.answers() if row.rated]
  assert [r.rewards for r in found] == stars


def test_the_judge_is_loaded_from_its_file(written):
  judge = load_file(written / "score.py")
  assert judge.score("My red mug?", "Sorry! The red mug will come.") == 1


def test_nothing_is_written_over(tmp_path):
  (tmp_path / "mine.txt").write_text("mine")
  with pytest.raises(UserError, match="nothing is written over it"):
    folder.write(tmp_path)
  with pytest.raises(UserError, match="nothing is written over it"):
    folder.write(tmp_path / "mine.txt")
  assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken_and_another_seed_makes_other_rows(tmp_path):
  made = folder.write(tmp_path, seed=1)
  assert '"label": ' in (made / "thumbs.jsonl").read_text()
  rows = data.load(str(made / "thumbs.jsonl")).records
  assert rows[0].prompt == shop.answers(1)[0].question
