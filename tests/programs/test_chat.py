"""Talking with a policy, line by line."""

import io

import pytest
import talkers

from offalign.errors import UserError
from offalign.generation.streaming import Piece
from offalign.policy.policy import Policy, Streamed
from offalign.programs import chat


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
  return Policy.load(
    talkers.write_lively(tmp_path_factory.mktemp("t") / "model")
  )


def talk(policy, lines, **options):
  out = io.StringIO()
  chat.talk(policy, io.StringIO(lines), out, max_new_tokens=6, **options)
  return out.getvalue()


def test_answers_are_what_is_generated(policy):
  said = talk(policy, "hi\n", temperature=0)
  asked = [{"role": "user", "content": "hi"}]
  (done,) = policy.generate(
    [asked], temperature=0, max_new_tokens=6, verbose=False
  )
  assert said.startswith(done.text)
  assert said.endswith("[cut at 6 tokens: --max_new_tokens]\n")


class Heard:
  """A policy that answers, and keeps what it was asked."""

  def __init__(self, chats=True):
    self.chats = chats
    self.pieces = [Piece("ok\x1b[2J", 1, True)]
    self.asked = []

  def stream(self, prompt, **options):
    self.asked.append((prompt, options["seed"]))
    return Streamed(1, iter(self.pieces))


def test_what_was_said_before_is_said_again():
  heard = Heard()
  said = talk(heard, "a\n\nb\n/reset\nc\n/quit\nd\n", system="S", seed=3)
  answer = ("assistant", "ok\x1b[2J")
  assert heard.asked == [
    ((("system", "S"), ("user", "a")), 3),
    ((("system", "S"), ("user", "a"), answer, ("user", "b")), 4),
    ((("system", "S"), ("user", "c")), 5),
  ]
  assert said == "ok\\x1b[2J\n" * 3  # nothing raw reaches a terminal


def test_a_policy_of_plain_text_gets_what_is_typed():
  heard = Heard(chats=False)
  talk(heard, "a\nb\n")
  assert heard.asked == [("a", 0), ("b", 1)]
  with pytest.raises(UserError, match="has no chat template"):
    talk(heard, "a\n", system="S")


def test_ctrl_c_ends_the_answer_alone():
  def broken():
    yield Piece("so", 1, None)
    raise KeyboardInterrupt

  heard = Heard()
  heard.pieces = broken()
  assert talk(heard, "a\n") == "so [broken off]\n"
