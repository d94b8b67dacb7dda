import pytest

from offalign.errors import UserError
from offalign.sweeping import braces


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("dpo", ["dpo"]),
    ("", [""]),
    ("{1e-5,1e-4}", ["1e-5", "1e-4"]),
    ("dro_v(tau={0.3, 1 ,3})", [f"dro_v(tau={t})" for t in ("0.3", "1", "3")]),
    ("a{1,2}b{3,4}", ["a1b3", "a1b4", "a2b3", "a2b4"]),
    ("{dpo(beta=1, average=True),kto}", ["dpo(beta=1, average=True)", "kto"]),
    ("{kto,dro_v(tau={1,2})}", ["kto", "dro_v(tau=1)", "dro_v(tau=2)"]),
    ("{one}", ["one"]),
    ("a {{literal}} b", ["a {literal} b"]),
  ],
)
def test_braces_stand_for_their_product(text, found):
  assert braces.expand(text) == found


def test_split_keeps_what_stays_beside_the_alternatives():
  assert braces.split("x(a={1,2},b=3)") == ["x(a=", ("1", "2"), ",b=3)"]


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    ("dro_v(tau={1,2)", "opens a brace that it does not close"),
    ("dro_v(tau=1})", "closes a brace that is not open"),
    ("{1,,2}", "an empty value"),
    ("{}", "an empty value"),
    ("{1,2,1}", "has 1 twice"),
  ],
)
def test_what_cannot_be_read_is_a_sentence(text, sentence):
  with pytest.raises(UserError, match=sentence):
    braces.expand(text)
