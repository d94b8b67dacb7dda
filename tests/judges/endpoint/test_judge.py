"""The endpoint's judge, against a local server that misbehaves."""

import dataclasses
import logging
import signal
import subprocess
import sys
import time
import traceback

import misbehaving
import numpy as np
import pytest
from misbehaving import answer, filtered, raw, reset, slow, status, trickle

from offalign import judges
from offalign.endpoints.client import Patience
from offalign.errors import UserError
from offalign.judges.endpoint.judge import EndpointJudge
from offalign.judges.endpoint.options import Endpoint

HASTY = Patience(timeout=5.0, retries=3, base=0.002)
IMPATIENT = dataclasses.replace(HASTY, timeout=0.4)
KEY = "sk-test-0123456789abcdef"
LOST = ("malformed", "refused", "failed", "capped")


@pytest.fixture
def server():
  with misbehaving.running() as found:
    yield found


@pytest.fixture
def judge(server):
  made = []

  def make(folder=None, patience=HASTY, **options):
    options = {"url": server.url, "model": "judge-1"} | options
    made.append(EndpointJudge(Endpoint(**options), folder, patience))
    return made[-1]

  yield make
  for each in made:
    each.close()


def usage(number):
  """An answer with a bill that is no number of tokens."""
  return raw(
    b'{"choices": [{"message": {"content": "A"}}], "usage": '
    b'{"prompt_tokens": %s}}' % number.encode()
  )


def compare(judge, n=1, a="longer text", b="short"):
  prompts = [f"prompt {i}" for i in range(n)]
  return judge.compare(prompts, [a] * n, [b] * n)


def test_a_model_that_thinks_first_is_asked_in_its_own_terms(server, judge):
  compare(judge(reasoning=True, max_tokens=900))
  assert {k: v for k, v in server.bodies[0].items() if k != "messages"} == {
    "model": "judge-1",
    "max_completion_tokens": 900,
  }


def test_both_orders_are_asked_with_the_papers_words(server, judge):
  said = judge(workers=1).compare(
    ["What is 2+2?"] * 3, ["four", "4", "same"], ["4", "four", "same"]
  )
  assert said.preferences.tolist() == [1.0, 0.0, 0.5]
  # Identical texts are not asked about, and the second comparison is the
  # first one's two orders again.
  assert server.seen == [
    ("What is 2+2?", "four", "4"),
    ("What is 2+2?", "4", "four"),
  ]
  body = server.bodies[0]
  assert body["messages"][0]["content"] == (
    "In this task, you will be provided with an instruction and two "
    "responses. Your job is to assess the helpfulness and fulfillment of two "
    "responses A and B.\n\nInstruction: What is 2+2?\n\nresponse A (left): "
    "four\n\nresponse B (right): 4\n\nWhich response is better? Answer with "
    "one letter and nothing else: A, B, or C if they are equally good."
  )
  assert {k: v for k, v in body.items() if k != "messages"} == {
    "model": "judge-1",
    "temperature": 0,
    "max_tokens": 64,
  }
  assert said.counts == {
    "ties": 1,
    "capped": 0,
    "failed": 0,
    "refused": 0,
    "malformed": 0,
    "identical": 1,
    "disagreed": 0,
    "cut_answers": 0,
    "cached": 2,
    "calls": 2,
    "retried": 0,
    "prompt_tokens": 14,
    "completion_tokens": 2,
  }


def test_a_judge_that_favours_a_place_has_only_ties(server, judge):
  server.judge = lambda prompt, left, right: "A"
  said = compare(judge(), 4)
  assert said.preferences.tolist() == [0.5] * 4
  assert (said.counts["ties"], said.counts["disagreed"]) == (4, 4)
  server.judge = lambda prompt, left, right: (
    "A" if left == "one" else "tie" if left == "two" else "B"
  )
  said = compare(judge(), 1, "one", "two")
  assert said.preferences.tolist() == [0.75]
  assert said.counts["disagreed"] == 0


@pytest.mark.parametrize(
  "trouble",
  [
    [slow],
    [trickle],
    [reset],
    [status(500), status(503)],
    [status(429, "rate_limit_exceeded")],
    [raw(b"{not json"), raw(b"[]"), raw(b'{"choices": []}')],
    [raw(b"[" * 100_000)],
    [raw(b'{"choices": [{"message": {"content": 3}}]}')],
    [lambda handler: handler.send(200, b"plain", Content_Encoding="gzip")],
    [usage("Infinity")],
  ],
  ids=[
    "slow",
    "trickle",
    "reset",
    "500",
    "429",
    "bodies",
    "deep",
    "number",
    "gzip",
    "usage",
  ],
)
def test_trouble_that_passes_is_retried(server, judge, trouble):
  server.plan["prompt 0"] = list(trouble)
  late = trouble[0] in (slow, trickle)
  said = compare(judge(patience=HASTY if not late else IMPATIENT))
  assert said.preferences.tolist() == [1.0]
  assert said.counts["retried"] == len(trouble)
  assert said.counts["calls"] == len(trouble) + 2


def test_trouble_that_stays_is_counted_and_is_no_tie(server, judge):
  server.plan["prompt 1"] = [status(500)] * 9
  made = judge(workers=1)
  said = compare(made, 3)
  np.testing.assert_array_equal(said.preferences, [1.0, np.nan, 1.0])
  assert said.counts["failed"] == 1
  assert said.counts["ties"] == 0
  assert said.counts["calls"] == 2 + 4 + 2  # not the other order as well
  assert made.why == "HTTP 500"


@pytest.mark.parametrize(
  ("act", "count"),
  [
    ("A good response would say more.", "malformed"),
    ("", "malformed"),
    ("D", "malformed"),
    (answer("I cannot do that.", refusal="I cannot do that."), "refused"),
    (filtered, "refused"),
    (status(400, "content_filter"), "refused"),
  ],
)
def test_an_answer_without_a_verdict_is_no_tie(server, judge, act, count):
  server.plan["prompt 0"] = [act]
  said = compare(judge(), 2)
  np.testing.assert_array_equal(said.preferences, [np.nan, 1.0])
  assert {k: said.counts[k] for k in LOST} == dict.fromkeys(LOST, 0) | {
    count: 1
  }
  assert said.counts["ties"] == 0


def test_retry_after_puts_off_all_calls(server, judge, monkeypatch):
  server.plan["prompt 0"] = [status(429, Retry_After="0.2")]
  made = judge(workers=1)
  waits, pause = [], made._asker._client._halt.wait
  monkeypatch.setattr(
    made._asker._client._halt, "wait", lambda s: waits.append(s) or pause(0)
  )
  compare(made, 2)
  assert 0.15 < max(waits) <= 0.2
  server.plan["prompt 9"] = [
    status(429, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")
  ]
  said = made.compare(["prompt 9"], ["x"], ["yy"])
  assert said.counts["failed"] == 1
  assert "more than 120 s" in made.why


@pytest.mark.parametrize(
  ("act", "sentence"),
  [
    (status(401, "invalid_api_key", f"Incorrect key {KEY}"), "HTTP 401"),
    (status(404, message=f"no model for {KEY}"), r"no model for \*\*\*; see"),
    (status(429, "insufficient_quota"), "HTTP 429"),
    (status(302, Location="http://elsewhere"), "HTTP 302"),
  ],
)
def test_what_cannot_go_well_ends_all_at_once(
  server, judge, act, sentence, monkeypatch
):
  monkeypatch.setenv("OFFALIGN_JUDGE_KEY", KEY)
  server.plan["prompt 3"] = [act]
  server.plan["prompt 0"] = [status(500)]  # its retry is not waited for
  made = judge(patience=Patience(timeout=5.0, retries=9, base=60.0))
  with pytest.raises(UserError, match=sentence) as error:
    compare(made, 50)
  assert KEY not in "".join(traceback.format_exception(error.value))
  assert len(server.seen) < 50
  # Once it is mended, the same judge goes on.
  server.plan.clear()
  assert compare(made, 2).preferences.tolist() == [1.0, 1.0]


def test_no_part_of_a_key_is_shown_where_an_answer_is_cut(
  server, judge, monkeypatch
):
  monkeypatch.setenv("OFFALIGN_JUDGE_KEY", KEY)
  for padding in (180, 190, 199, 380, 390):
    server.plan["prompt 0"] = [status(404, message="x" * padding + KEY)]
    with pytest.raises(UserError) as error:
      compare(judge())
    assert KEY[:4] not in str(error.value)
  server.plan["prompt 0"] = [status(429, KEY, Retry_After="9999")]
  made = judge()
  assert compare(made).counts["failed"] == 1
  assert "more than 120 s" in made.why
  assert KEY not in made.why


def test_a_bill_of_any_length_is_kept(server, judge, tmp_path):
  server.plan["prompt 0"] = [usage("1" + "0" * 30)]
  said = compare(judge(tmp_path))
  assert said.counts["calls"] == 2
  assert not np.isnan(said.preferences).any()


@pytest.mark.parametrize("count", ["1e23", "-5", "1000000001", "null"])
def test_a_count_that_can_be_none_is_not_added_up(server, judge, count):
  server.plan["prompt 0"] = [usage(count)]
  counts = compare(judge()).counts
  assert counts["calls"] == 2
  assert counts["prompt_tokens"] == 7  # of the other order


def test_an_endpoint_that_is_down_is_given_up(server, judge):
  server.plan.default_factory = lambda: [status(500)] * 99
  with pytest.raises(UserError, match=r"failed 10 times in a row \(HTTP 500"):
    compare(judge(patience=dataclasses.replace(HASTY, retries=0)), 40)
  assert len(server.seen) < 20


def test_nobody_there_is_a_failure(judge):
  said = compare(judge(url="http://127.0.0.1:9/v1"))
  assert said.counts["failed"] == 1


def test_a_cap_keeps_what_was_asked(server, judge, tmp_path):
  said = compare(judge(tmp_path, max_calls=5, workers=1), 4)
  np.testing.assert_array_equal(said.preferences, [1, 1, np.nan, np.nan])
  assert (said.counts["capped"], said.counts["calls"]) == (2, 5)
  said = compare(judge(tmp_path, max_calls=5, workers=1), 4)
  assert said.preferences.tolist() == [1.0] * 4
  assert (said.counts["cached"], said.counts["calls"]) == (5, 3)
  assert len(server.seen) == 8
  retried = judge(max_calls=2, workers=1)
  server.plan["prompt 0"] = [status(500)]
  assert compare(retried).counts["capped"] == 1  # a retry is a call


def test_every_comparison_is_judged_or_counted(server, judge):
  rng = np.random.default_rng(0)
  acts = [status(500), "no idea", filtered, None]
  for i in range(40):
    kind = rng.integers(4)
    server.plan[f"prompt {i}"] = [acts[kind]] * 9 if acts[kind] else []
  said = compare(judge(patience=dataclasses.replace(HASTY, retries=1)), 40)
  lost = sum(said.counts[name] for name in LOST)
  assert lost == np.isnan(said.preferences).sum()
  assert 0 < lost < 40


def test_the_same_question_is_the_same_answer_and_no_other(server, judge):
  made = judge()
  compare(made)
  assert compare(made).counts["calls"] == 0
  # b against a is the same two questions.
  said = made.compare(["prompt 0"], ["short"], ["longer text"])
  assert (said.preferences.tolist(), said.counts["cached"]) == ([0.0], 2)
  for n, options in enumerate(
    [{"model": "judge-2"}, {"max_tokens": 9}, {"url": server.url + "/"}]
  ):
    calls = compare(judge(**options)).counts["calls"]
    assert calls == 2, n


KILLED = """
import sys
from offalign.judges import make
judge = make("endpoint(url=%r, model=m, workers=1)" % sys.argv[1], sys.argv[2])
prompts = [f"prompt {i}" for i in range(6)]
judge.compare(prompts, ["longer text"] * 6, ["short"] * 6)
"""


def test_a_killed_job_pays_for_nothing_twice(server, judge, tmp_path):
  server.plan["prompt 4"] = [slow]
  child = subprocess.Popen(
    [sys.executable, "-c", KILLED, server.url, str(tmp_path)]
  )
  while len(server.seen) < 9:  # 8 answers, and the call that hangs
    assert child.poll() is None
    time.sleep(0.005)
  child.send_signal(signal.SIGKILL)
  child.wait()
  said = compare(judge(tmp_path, model="m"), 6)
  assert said.preferences.tolist() == [1.0] * 6
  assert (said.counts["cached"], said.counts["calls"]) == (8, 4)


def test_the_key_is_sent_and_nowhere_else(
  server, judge, tmp_path, monkeypatch, caplog, capfd
):
  monkeypatch.setenv("MY_KEY", f" {KEY}\n")
  with caplog.at_level(logging.DEBUG):
    server.plan["prompt 0"] = [status(500, message=KEY), reset]
    server.plan["prompt 1"] = [raw(KEY.encode())] * 9
    server.plan["prompt 9"] = [answer(f"{KEY} A")]
    server.plan["prompt 2"] = [status(418, message=f"Bearer {KEY}")]
    made = judge(tmp_path, key_env="MY_KEY", workers=1)
    said = compare(made, 2)
    with pytest.raises(UserError) as error:
      compare(made, 3)
  assert server.headers_seen[0]["Authorization"] == f"Bearer {KEY}"
  shown = [repr(made), str(vars(made)), made.spec, made.why, repr(said)]
  shown += [
    *traceback.format_exception(error.value),
    caplog.text,
    *capfd.readouterr(),
  ]
  written = [path.read_bytes() for path in tmp_path.rglob("*")]
  assert written
  modes = {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sqlite")}
  assert modes == {0o600}
  assert not [text for text in shown if KEY in text]
  assert not [data for data in written if KEY.encode() in data]


def test_without_a_key_none_is_sent(server, judge, monkeypatch):
  monkeypatch.delenv("OFFALIGN_JUDGE_KEY", raising=False)
  compare(judge())
  assert "Authorization" not in server.headers_seen[0]
  monkeypatch.setenv("OFFALIGN_JUDGE_KEY", f"{KEY} {KEY}")
  with pytest.raises(UserError, match="holds a character that no key") as error:
    judge()
  assert KEY not in str(error.value)


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ("", "needs a url and a model"),
    ("url='http://far.org/v1', model=m", "unencrypted to another machine"),
    ("url='ftp://far.org/v1', model=m", "is no http"),
    ("url='http://[far/v1', model=m", "the url is no http"),
    ("url='https://u:sk-secret@far.org', model=m", "has a user, a query"),
    ("url='https://far.org?key=sk-secret', model=m", "has a user, a query"),
    ("url='https://far.org', model=m, workers=0", "workers must be at least"),
    ("url='https://far.org', model=m, timeout=0", "timeout must be above 0"),
    ("url='https://far.org', modl=m", "no option 'modl'; did you mean 'model'"),
    ("url='https://far.org', model=m, template='no'", "cannot be read"),
  ],
)
def test_mistakes_are_sentences(options, sentence):
  with pytest.raises(UserError, match=sentence) as error:
    judges.make(f"endpoint({options})")
  assert "sk-secret" not in str(error.value).replace(options, "")


def test_http_to_another_machine_where_one_says_so():
  spec = "endpoint(url='http://far.org/v1', model=m, allow_http=True)"
  made = judges.make(spec)
  assert judges.make(made.spec).spec == made.spec
  assert made.options.target == "http://far.org/v1/chat/completions"


def test_a_cache_of_another_kind_is_refused(judge, tmp_path):
  file = tmp_path / "answers.sqlite"
  file.write_text("not a database, and long enough to be looked at" * 99)
  with pytest.raises(UserError, match="cannot serve as a cache of answers"):
    compare(judge(tmp_path))


def test_half_a_surrogate_pair_does_no_harm(server, judge):
  said = judge().compare(["\ud800 prompt"], ["longer \udfff"], ["short"])
  assert said.preferences.tolist() == [1.0]
