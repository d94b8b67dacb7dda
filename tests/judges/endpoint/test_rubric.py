"""How the answer to a rubric's question is read."""

import pytest

from offalign.judges.endpoint import rubric


@pytest.mark.parametrize(
  ("answer", "number"),
  [
    ("**7**", 7),
    ("The final score is: 3.", 3),
    ("Helpful, but long.\n\nRating: [[6.5]]", 6.5),
    ("10 out of 10", 10),
    ("0", None),
    ("10.5", None),
    ("8/100", None),
    ("7, since it is good", None),
    ("[1][0]", None),
    ("1>0", None),
    ("(7)/10", 7),
    ("Rating: `[[ 9 ]]`.", 9),
    ("between 3 and 4", None),
    ("nan", None),
    (" \n", None),
    ("7\nbut then again", None),
  ],
)
def test_answers_are_read_strictly(answer, number):
  assert rubric.read(answer, 1, 10) == number
