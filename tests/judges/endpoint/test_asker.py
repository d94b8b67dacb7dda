"""One question: the file of answers, a call, and what is counted of it."""

import misbehaving
import pytest
from misbehaving import answer, status

from offalign.endpoints.client import Patience
from offalign.errors import UserError
from offalign.judges.endpoint.asker import Asker
from offalign.judges.endpoint.options import Endpoint

HASTY = Patience(timeout=5.0, retries=0, base=0.002)
ASKED = "Instruction: {}\n\nResponse: ab\n\nAnswer with a number."


@pytest.fixture
def server():
  with misbehaving.running() as found:
    yield found


def asker(server, **options):
  options = {"url": server.url, "model": "m", "workers": 1} | options
  return Asker(Endpoint(**options), None, HASTY)


def ask(made, prompts):
  def one(prompt):
    return made.ask(ASKED.format(prompt), lambda x: int(x) if x else None)

  return made.all(one, prompts, "question")


def test_counts_begin_anew_with_each_round_of_questions(server):
  made = asker(server)
  assert ask(made, ["p", "q"]) == [2, 2]
  assert (made.counts["calls"], made.counts["completion_tokens"]) == (2, 2)
  assert ask(made, ["p", "r"]) == [2, 2]
  counts = made.counts
  assert (counts["calls"], counts["cached"], counts["prompt_tokens"]) == (
    1,
    1,
    7,
  )
  made.close()


def test_a_long_answer_that_says_nothing_was_cut(server):
  made = asker(server, max_tokens=1)
  server.plan["p"] = [answer("")]
  assert ask(made, ["p", "q"]) == ["malformed", 2]
  assert made.counts["cut_answers"] == 1
  made.close()


def test_ten_failures_in_a_row_end_it_and_an_answer_begins_the_count_anew(
  server,
):
  made = asker(server)
  prompts = [f"p{i}" for i in range(30)]
  for i, prompt in enumerate(prompts):
    if i != 9:
      server.plan[prompt] = [status(500)]
  with pytest.raises(UserError, match=r"failed 10 times in a row \(HTTP 500\)"):
    ask(made, prompts)
  assert len(server.seen) == 20
  assert made.why == "HTTP 500"
  made.close()
