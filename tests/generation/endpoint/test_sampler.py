"""Completions of an engine, against a local one that may misbehave."""

import json

import engines
import numpy as np
import pytest

from offalign.data import make_tokenizer
from offalign.data.text.ragged import Ragged
from offalign.endpoints.client import Patience
from offalign.errors import UserError
from offalign.generation.endpoint.options import parse
from offalign.generation.endpoint.sampler import EndpointSampler

PROMPTS = Ragged.of([np.array(x, np.int32) for x in ([70, 71], [72], [73] * 3)])
HASTY = Patience(timeout=5.0, retries=2, base=0.002)


@pytest.fixture
def server():
  with engines.running() as found:
    yield found


def sample(server, each=2, cache=None, longest=4, drawing=None, **options):
  made = EndpointSampler(
    parse(server.spec(**options)),
    make_tokenizer("byte", [], None),
    max_new_tokens=longest,
    cache=cache,
    patience=HASTY,
    **(drawing or {}),
  )
  try:
    return made.complete(PROMPTS, each, stream="s")
  finally:
    made.close()


def test_tokens_and_log_probs_come_in_the_order_of_prompts(server, monkeypatch):
  monkeypatch.setenv("OFFALIGN_SAMPLER_KEY", "sk-secret-1")
  drawing = {"temperature": 0.7, "top_p": 0.9}
  found = sample(server, drawing=drawing, workers=3)
  assert found == sample(server, drawing=drawing, workers=1)
  bodies = sorted(server.bodies[3:], key=lambda body: body["prompt"])
  assert bodies[0] == {
    "model": "m",
    "prompt": [70, 71],
    "n": 2,
    "seed": engines.seed_of("s/0"),
    "max_tokens": 4,
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "logprobs": 1,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "stop_token_ids": [1],
  }
  expected = [engines.told(body, k) for body in bodies for k in range(2)]
  for choice, said in zip(found, expected, strict=True):
    assert choice.ids == tuple(said["token_ids"])
    assert choice.logprobs == tuple(said["logprobs"]["token_logprobs"])
    assert choice.finished == (said["finish_reason"] == "stop")
  assert {x["Authorization"] for x in server.headers} == {"Bearer sk-secret-1"}


def test_ids_may_stand_for_texts_and_text_may_be_all(server):
  def named(body):
    made = engines.answer(body, ids=False)
    for k, choice in enumerate(made["choices"][::-1]):
      choice["logprobs"]["tokens"] = [
        f"token_id:{t}" for t in engines.told(body, k)["token_ids"]
      ]
    return made

  whole = sample(server)
  server.reply = named
  assert sample(server) == whole
  server.reply = lambda body: engines.answer(body, ids=False)
  for choice, other in zip(sample(server), whole, strict=True):
    assert (choice.text, choice.finished) == (other.text, other.finished)
    assert choice.ids is choice.logprobs is None
  # The token that ends a text may be left out; its log-prob is not known.
  server.reply = lambda body: engines.answer(body, end=False)
  for choice, other in zip(sample(server), whole, strict=True):
    assert choice.ids == other.ids
    assert choice.logprobs == (None if other.finished else other.logprobs)


def _with(**changes):
  def reply(body):
    made = engines.answer(body)
    made["choices"][0] |= changes
    return made

  return reply


def _short(body):
  return {"choices": engines.answer(body)["choices"][1:]}


@pytest.mark.parametrize(
  ("reply", "why"),
  [
    (_short, "gave 1 completions of a prompt where 2 were asked for"),
    (_with(index=0), "whose 'index' is not 0, 1"),
    (_with(logprobs={"token_logprobs": [-1.0] * 9}), "gave 9 log-probs of"),
    (_with(logprobs={"token_logprobs": [0.5]}), "no finite numbers up to 0"),
    (_with(logprobs={"token_logprobs": [float("nan")]}), "no finite numbers"),
    (_with(logprobs={"token_logprobs": [None]}), "no finite numbers"),
    (_with(token_ids=[999]), "gave token 999, and this policy's tokenizer has"),
    (_with(token_ids=["a"]), "that are no whole numbers"),
    (_with(token_ids=[65] * 5, logprobs=None), "gave 5 tokens where 4 were"),
    (_with(token_ids=[], finish_reason="length", logprobs=None), "without tok"),
    (_with(finish_reason="\x1babort"), "finish_reason='\\\\x1babort', which"),
    (_with(text=7), "whose 'text' is no text"),
    (lambda body: b"not JSON", "HTTP 200 without a completion"),
    (lambda body: {"choices": [7]}, "HTTP 200 without a completion"),
    (lambda body: b"[" * 40_000, "longer than 30,000 bytes"),
  ],
)
def test_what_cannot_be_is_one_sentence(server, reply, why):
  server.reply = reply
  with pytest.raises(UserError, match=why) as error:
    sample(server, max_bytes=30_000)
  assert str(error.value).startswith(f"the sampler at {server.url}/completions")
  assert "\x1b" not in str(error.value)
  assert "kept" not in str(error.value)  # nothing is, without a file


def test_a_failure_that_passes_is_passed_over(server):
  server.failures = [500, 503]
  assert len(sample(server, workers=1)) == 6
  server.failures = [500] * 9
  with pytest.raises(UserError, match=r"failed \(HTTP 500\)"):
    sample(server, workers=1)
  server.failures = [404]
  with pytest.raises(UserError, match="answered HTTP 404") as error:
    sample(server, workers=1)
  assert "\x1b" not in str(error.value)
  server.failures = []
  with pytest.raises(UserError, match="more than max_calls=2 times"):
    sample(server, max_calls=2)


def test_what_was_answered_is_not_asked_again(server, tmp_path):
  cache, calls = tmp_path / "answers.sqlite", []

  def dying(body):
    calls.append(body["prompt"])
    return engines.answer(body) if len(calls) < 3 else b""

  server.reply = dying
  with pytest.raises(UserError, match="so far are kept, and the same command"):
    sample(server, cache=cache, workers=1)
  server.reply = engines.answer
  del server.bodies[:]
  found = sample(server, cache=cache, workers=1)
  assert [body["prompt"] for body in server.bodies] == [[73] * 3]
  assert found == sample(server, cache=cache)
  assert found == sample(server)
  assert len(server.bodies) == 4


def test_which_distribution_log_probs_are_of(server):
  def knows(temperature, **options):
    made = EndpointSampler(
      parse(server.spec(**options)),
      make_tokenizer("byte", [], None),
      max_new_tokens=4,
      temperature=temperature,
    )
    return made.knows_drawn, made.knows_own

  assert knows(1.0) == knows(1.0, logprobs="processed") == (True, True)
  assert knows(0.5) == (False, True)
  assert knows(0.5, logprobs="processed") == (True, False)
  assert knows(0.0) == (False, True)
  assert json.loads(json.dumps(server.bodies)) == []  # nothing was asked
