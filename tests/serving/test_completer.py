"""A policy answers requests as it generates."""

import json

import pytest
import talkers

from offalign.errors import UserError
from offalign.policy.policy import Policy
from offalign.serving.completer import PolicyCompleter
from offalign.serving.requests import Request


def test_answers_are_the_policys(tmp_path):
  policy = Policy.load(talkers.write_lively(tmp_path / "model"))
  completer = PolicyCompleter(policy, max_new_tokens=8)
  completer.warm_up()
  asked = (("user", "hi"),)
  options = {"temperature": 0, "verbose": False}
  for wanted, most in ((5, 5), (50, 8), (None, 8)):
    request = Request(asked, False, False, wanted, 0.0, None, 0, ())
    tokens, pieces = completer.start(request)
    (done,) = policy.generate([asked], max_new_tokens=most, **options)
    assert "".join(piece.text for piece in pieces) == done.text
    assert tokens > 3


def test_a_policy_of_plain_text_completes_one_message(tmp_path):
  folder = talkers.write_lively(tmp_path / "model")
  line = json.dumps({"prompt": "hi", "completion": "so"})
  (folder / "held_out.jsonl").write_text(f"{line}\n")
  policy = Policy.load(folder)
  assert policy.tokenizer.chats
  assert not policy.chats
  completer = PolicyCompleter(policy, max_new_tokens=8)
  completer.warm_up()
  request = Request((("user", "hi"),), False, False, 8, 0.0, None, 0, ())
  _, pieces = completer.start(request)
  (done,) = policy.generate(
    ["hi"], max_new_tokens=8, temperature=0, verbose=False
  )
  assert "".join(piece.text for piece in pieces) == done.text
  for said in (
    (("system", "s"), ("user", "hi")),
    (("user", "hi"), ("assistant", "a"), ("user", "hi")),
  ):
    request = Request(said, False, False, 8, 0.0, None, 0, ())
    with pytest.raises(UserError, match="completes one message of the user"):
      completer.start(request)
