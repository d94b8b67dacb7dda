"""A policy answers requests as it generates."""

import talkers

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
