"""Answers of chat completions."""

from offalign.endpoints import chat
from offalign.endpoints.answers import Answer


def test_the_first_choice_counts():
  message = {"message": {"content": "A"}}
  usage = {"prompt_tokens": 7, "completion_tokens": -1}
  found = chat.read({"choices": [message], "usage": usage})
  assert found == Answer("A", False, 7, 0)
  assert chat.read({"choices": []}) is chat.read(None) is None
