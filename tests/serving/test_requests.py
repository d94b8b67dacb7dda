"""Requests are read as OpenAI's clients write them; others are refused."""

import json

import pytest

from offalign.errors import UserError
from offalign.serving import requests

MESSAGES = [{"role": "user", "content": "Hi"}]


def read(**fields):
  return requests.read(json.dumps({"messages": MESSAGES} | fields).encode())


def test_defaults_are_those_of_the_api():
  found = read(model="any")
  assert found.prompt == (("user", "Hi"),)
  assert (found.stream, found.usage) == (False, False)
  assert (found.temperature, found.top_p, found.stop) == (1.0, None, ())
  assert found.max_new_tokens is None
  assert 0 <= found.seed < 2**31


def test_everything_that_is_served():
  found = read(
    messages=[
      {"role": "system", "content": "Short."},
      {"role": "user", "content": [{"type": "text", "text": "a"}] * 2},
      {"role": "assistant", "content": "b", "tool_calls": None},
      {"role": "user", "content": "c", "name": "me"},
    ],
    max_tokens=5,
    max_completion_tokens=7,
    temperature=0.5,
    top_p=0.9,
    seed=2**31 + 3,
    stop="\n",
    stream=True,
    stream_options={"include_usage": True},
    user="u",
    n=1,
    tools=[],
    presence_penalty=0.0,
    response_format={"type": "text"},
  )
  assert found.prompt == (
    ("system", "Short."),
    ("user", "aa"),
    ("assistant", "b"),
    ("user", "c"),
  )
  assert found.max_new_tokens == 7
  assert (found.temperature, found.top_p, found.seed) == (0.5, 0.9, 3)
  assert (found.stop, found.stream, found.usage) == (("\n",), True, True)


def test_a_share_of_the_likeliest_token_is_without_effect():
  assert read(temperature=0, top_p=0.5).top_p is None


@pytest.mark.parametrize(
  ("fields", "error"),
  [
    ({"messages": []}, "messages is missing"),
    ({"messages": "Hi"}, "messages is missing"),
    ({"messages": ["Hi"]}, r"messages\[0\] is not a JSON object"),
    ({"messages": [{"role": "robot", "content": ""}]}, "the role is not one"),
    ({"messages": [{"role": ["user"], "content": ""}]}, "the role is not one"),
    ({"messages": [{"role": "user"}]}, "the content is not text"),
    (
      {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
      "text alone is served",
    ),
    (
      {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
      "text alone is served",
    ),
    (
      {"messages": [*MESSAGES, {"role": "assistant", "content": "x"}]},
      "nothing to answer",
    ),
    (
      {"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]},
      "'tool_calls', which is not served",
    ),
    ({"messages": MESSAGES * 1001}, "more than 1,000 messages"),
    ({"tools": [{"type": "function"}]}, "'tools' is not served"),
    ({"n": 2}, "'n' is not served"),
    ({"logprobs": True}, "'logprobs' is not served"),
    ({"\x1b[2J": 1}, r"'\\x1b\[2J' is not served"),
    ({"temperature": "hot"}, "temperature is not a number"),
    ({"temperature": True}, "temperature is not a number"),
    ({"temperature": 3}, "temperature must be from 0 to 2"),
    ({"temperature": 10**400}, "temperature must be from 0 to 2"),
    ({"top_p": 0}, "top_p must be above 0"),
    ({"max_tokens": 0}, "must be at least 1"),
    ({"max_tokens": 1.5}, "max_tokens is not a whole number"),
    ({"seed": "x"}, "seed is not a whole number"),
    ({"stop": [""]}, "stop must be a text"),
    ({"stop": ["a"] * 5}, "stop must be a text"),
    ({"stop": {"a": 1}}, "stop must be a text"),
    ({"stream": 1}, "stream is neither true nor false"),
    ({"stream_options": 1}, "stream_options is not a JSON object"),
  ],
)
def test_what_cannot_be_served_is_said(fields, error):
  with pytest.raises(UserError, match=error):
    read(**fields)


@pytest.mark.parametrize(
  "body", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"NaN"]
)
def test_what_is_no_request_is_said(body):
  with pytest.raises(UserError, match=r"^the body is not "):
    requests.read(body)


def test_numbers_that_are_none():
  with pytest.raises(UserError, match="temperature must be"):
    requests.read(
      b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}'
    )
