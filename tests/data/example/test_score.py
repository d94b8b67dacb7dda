"""What the judge of the sample log finds good."""

import pytest

from offalign.data.example.score import score

ASKED = "Where is my blue lamp?"


@pytest.mark.parametrize(
  ("answer", "thirds"),
  [
    ("Sorry about the wait! Your blue lamp will arrive on Monday.", 3),
    ("SORRY! YOUR BLUE LAMP WILL ARRIVE.", 3),
    ("Your blue lamp will arrive on Monday.", 2),
    ("Sorry! Your red lamp will arrive on Monday.", 2),
    ("Sorry! Your blue lamp and your red lamp will arrive.", 2),
    ("Sorry.", 1),
    (ASKED, 1),
    ("No idea.", 0),
    ("", 0),
    ("Sorry. Sorry. Your blue lamp will arrive.", 0),
  ],
)
def test_a_third_for_each_of_three(answer, thirds):
  assert score(ASKED, answer) == thirds / 3


def test_a_question_about_nothing_names_nothing():
  assert score("Hello?", "Hello!") == 0
