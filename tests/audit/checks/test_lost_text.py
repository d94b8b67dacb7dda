"""Rows of which a template, a tokenizer or a limit drops text."""

import chat_cases

from offalign.audit.checks.lost_text import LostText
from offalign.audit.checks.token_entries import Turn
from offalign.data.text.tokenizer import Tokenizer

DROPS = (
  "{% for m in messages %}{% if m['role'] != 'system' %}<|im_start|>"
  "{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] | trim }}<|im_end|>"
  "{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASK = ("user", "and now?")


def looked_at(rows, template=DROPS, max_prompt=None):
  """What is found in rows of a conversation and its completions."""
  tokenizer = Tokenizer(
    chat_cases.backend("bytes", bos=False),
    {"eos_token": "</s>", "chat_template": template},
  )
  turns = [
    Turn(chat_cases.messages(talk), reply, f"a.jsonl, row {n}, item {k}", n, k)
    for n, (talk, replies) in enumerate(rows)
    for k, reply in enumerate(replies)
  ]
  seen = LostText(max_prompt)
  # Rows may lie across what is tokenised together.
  for part in (turns[:1], turns[1:]):
    found = tokenizer.encode_rows(
      [turn.prompt for turn in part],
      [(i, turn.text) for i, turn in enumerate(part)],
    )
    seen.add(found, part)
  return {finding.kind: finding for finding in seen.findings()}


def test_rows_are_counted_once_and_named():
  found = looked_at(
    [
      (
        [("system", "Be kind."), ASK],
        ["<think>a</think>b", "<think>c</think>d"],
      ),
      ([ASK], ["yes"]),
      ([ASK, ("assistant", "<think>a</think>b"), ASK], ["yes\n"]),
    ]
  )
  assert set(found) == {
    "lost_system",
    "lost_assistant",
    "lost_reply",
    "lost_space",
  }
  assert found["lost_system"].what == (
    "1 of 3 rows have a system message of which the chat template drops text"
  )
  assert found["lost_reply"].count == 1
  assert found["lost_reply"].where == ("a.jsonl, row 0, item 0",)
  assert found["lost_assistant"].where == ("a.jsonl, row 2, item 0",)
  assert found["lost_space"].severity == "note"
  assert found["lost_reply"].severity == "warning"


def test_a_template_that_writes_all_of_it_loses_nothing():
  rows = [([("system", "Be kind."), ASK], ["<think>a</think>b\n"])]
  assert looked_at(rows, chat_cases.CHATML) == {}


def test_a_limit_that_cuts_off_the_beginning():
  rows = [
    ([("system", "Be kind."), ASK], ["a", "b"]),
    ([ASK, ("assistant", "long " * 9), ASK], ["a"]),
    ([ASK], ["a"]),
  ]
  found = looked_at(rows, chat_cases.CHATML, max_prompt=20)
  assert found["lost_opening"].count == 2
  assert found["lost_opening_system"].where == ("a.jsonl, row 0, item 0",)
  assert "loses its opening to max_prompt=20" in found["lost_opening"].what


def test_a_reply_of_which_nothing_is_left():
  found = looked_at([([ASK], [" \n", "yes"])])
  assert (found["vanished"].severity, found["vanished"].count) == ("error", 1)
