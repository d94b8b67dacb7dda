"""Contents with more than text: equal, shown and kept as their JSON."""

import copy
import json
import pickle

from offalign.data import Message
from offalign.data.reading.whole_message import WholeMessage

CALL = {"function": {"name": "f", "arguments": {"b": 1, "a": "é"}}, "id": "7"}
WHOLE = WholeMessage.of("said", {"tool_calls": [CALL]})


def test_the_text_is_json_in_the_order_of_the_keys():
  assert str(WHOLE) == (
    '{"content": "said", "tool_calls": [{"function": {"name": "f", '
    '"arguments": {"b": 1, "a": "é"}}, "id": "7"}]}'
  )
  assert WHOLE.parts == {"content": "said", "tool_calls": [CALL]}


def test_copies_and_what_holds_it_are_equal():
  for made in (copy.deepcopy(WHOLE), pickle.loads(pickle.dumps(WHOLE))):
    assert made == WHOLE
    assert type(made) is WholeMessage
  one, other = (Message("assistant", WholeMessage(WHOLE)) for _ in range(2))
  assert one == other
  assert len({one, other, Message("assistant", "said")}) == 2
  assert json.loads(json.dumps(one)) == ["assistant", str(WHOLE)]


def test_plain_text_of_the_same_letters_is_another():
  plain = str(WHOLE)
  assert plain != WHOLE
  assert plain != WHOLE
  assert {WHOLE: 1, plain: 2} == {plain: 2, WholeMessage(plain): 1}
  assert Message("assistant", WHOLE) != Message("assistant", plain)


def test_map_changes_every_text_and_no_other_value():
  changed = WHOLE.map(lambda text: text.replace("f", "g").replace("a", "u"))
  assert changed.parts["content"] == "suid"
  (call,) = changed.parts["tool_calls"]
  assert call["gunction"]["nume"] == "g"
  assert call["gunction"]["urguments"] == {"b": 1, "u": "é"}
