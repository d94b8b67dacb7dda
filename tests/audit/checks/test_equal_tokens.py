"""The audit finds what became equal as tokens; a run refuses the same."""

import chat_cases
import equal_texts
import pytest
from equal_texts import SHARED

from offalign import data, losses
from offalign.audit import AuditConfig, audit
from offalign.audit.report.console import text
from offalign.audit.report.json_form import as_json
from offalign.audit.scan import entries
from offalign.config.config import DataConfig
from offalign.errors import UserError
from offalign.training import inputs


@pytest.fixture(params=["memory", "disk"], autouse=True)
def where(request, monkeypatch):
  if request.param == "disk":
    monkeypatch.setattr(entries, "HELD", 7)


def found(path, kind, **config):
  given = {"methods": False, "tokenizer": "byte", **config}
  report = audit(str(path), AuditConfig(**given))
  return report, [f for f in report.findings if f.kind == kind]


def pairs(n=12, equal=12, tag=""):
  return equal_texts.pairs(n, equal, tag)


def rated(key, good, bad, n=12):
  return [
    {"prompt": f"question {i}", "completion": SHARED + word, key: value}
    for i in range(n)
    for word, value in (("yes", good), ("no", bad))
  ]


def grouped(n=12):
  return [
    {
      "prompt": f"question {i}",
      "completions": [SHARED + x for x in ("a", "b", "c")],
      "rewards": [1.0, 0.5, 0.0],
    }
    for i in range(n)
  ]


@pytest.mark.parametrize(
  ("rows", "loss", "kind"),
  [
    (pairs(), "dpo", "equal_tokens"),
    (rated("label", True, False), "kto", "contrary_tokens"),
    (rated("reward", 1.0, 0.0), "dro_v", "contrary_tokens"),
    (grouped(), "rloo", "equal_tokens"),
  ],
)
def test_an_error_where_a_run_refuses(rows, loss, kind, write):
  path = write(rows)
  config = DataConfig(path=str(path), max_completion=20)
  with pytest.raises(UserError, match="Nothing is left to learn from"):
    inputs.read(
      config,
      losses.get(loss),
      lambda texts: data.make_tokenizer("byte"),
      seed=0,
    )
  report, (fault,) = found(path, kind, max_completion=20)
  assert (fault.severity, fault.count) == ("error", 12)
  assert fault.what.startswith("12 of 12 ")
  assert fault.what.endswith(
    "max_completion=20 cuts off what differs, and max_completion="
    f"{len(SHARED) + 1} is the least that keeps it"
  )
  assert len(fault.where) == 10
  assert fault.where[0].startswith(f"{path}, row 0")
  assert "... and 2 more" in text(report)
  assert report.status("error") == 1
  # With the limit that is named nothing is equal.
  least = len(SHARED) + 1
  assert found(path, kind, max_completion=least)[1] == []
  assert found(path, kind)[1] == []


def test_a_warning_where_some_remain(write):
  path = write(pairs(12, equal=3))
  report, (fault,) = found(path, "equal_tokens", max_completion=20)
  assert fault.severity == "warning"
  assert fault.what.startswith("3 of 12 pairs have a chosen and a rejected")
  assert fault.where == tuple(f"{path}, row {i}" for i in range(3))
  counted = as_json(report)["as_tokens"]
  assert counted["rows_alike"] == 3
  assert counted["prompts"] == 12


def test_prompts_and_rows_that_become_the_same(write):
  rows = [
    {"prompt": f"{name}, now?", "completion": "yes", "reward": 1.0}
    for name in ("Sir", "Madam", "Sister")
  ]
  rows.append({"prompt": "and then", "completion": "no", "reward": 0.0})
  path = write(rows)
  report, (fault,) = found(path, "equal_prompts", max_prompt=6)
  assert fault.what == (
    "4 prompts of different text are 2 as tokens: max_prompt=6 cuts off what "
    "differs, and max_prompt=9 is the least that keeps it"
  )
  assert fault.where == (f"{path}, row 0 and {path}, row 1",)
  assert "4 (2 as tokens)" in text(report)
  (fault,) = [f for f in report.findings if f.kind == "duplicate_tokens"]
  assert fault.where == (
    f"{path}, row 1 repeats row 0",
    f"{path}, row 2 repeats row 0",
  )
  # As text alone no row repeats another.
  assert report.repeats.rows.count == 0


def test_the_cause_of_equal_prompts_is_not_that_of_completions(write):
  rows = [
    {"prompt": f"{i} and so on", "completion": f"{i}", "reward": i}
    for i in range(30)
  ]
  _, (fault,) = found(write(rows), "equal_prompts", max_prompt=6)
  assert fault.what == (
    "30 prompts of different text are 1 as tokens: max_prompt=6 cuts off "
    "what differs, and max_prompt=13 is the least that keeps it"
  )


def test_leaks_of_tokens(write):
  train = write(rated("reward", 1.0, 0.0, 4), "train.jsonl")
  rows = [
    {"prompt": f"{opening} question {i}", "completion": "a", "reward": 1.0}
    for opening, i in (("the", 1), ("a", 3), ("a", 7))
  ]
  rows.append({"prompt": "question 2", "completion": "a", "reward": 1.0})
  test = write(rows, "test.jsonl")
  report, (fault,) = found(train, "token_leakage", test=str(test), max_prompt=9)
  assert fault.what.startswith("2 prompts of the test set's 4 (50.0%)")
  assert fault.where == (
    f"{test}, row 0 is the tokens of {train}, row 2",
    f"{test}, row 1 is the tokens of {train}, row 6",
  )
  assert report.leakage.leaked.count == 1
  assert found(train, "token_leakage", test=str(test))[1] == []


def test_which_side_is_longer_is_told_by_tokens(write):
  rows = [
    {"prompt": f"q {i}", "chosen": "a b c d e " * 3, "rejected": "long" * 9}
    for i in range(40)
  ]
  report, (note,) = found(write(rows), "length")
  assert "the chosen side is the shorter one in 100.0%" in note.what
  assert "in tokens" in note.what
  assert report.equal.longer == 0
  assert "chosen has more tokens" in text(report)
  # Both are cut to the same length: then there is nothing to say.
  assert found(write(rows), "length", max_completion=10)[1] == []
  # By words it would be the other way round.
  _, (note,) = found(write(rows), "length", tokenizer=None)
  assert "the longer one" in note.what


def test_a_template_that_drops_reasoning(write, tmp_path):
  template = chat_cases.CHATML.replace(
    "m['content']", "m['content'].split('</think>')[-1]"
  )
  folder = chat_cases.write(tmp_path / "tokenizer", template)
  rows = [
    {
      "prompt": chat_cases.dicts([("user", f"question {i}")]),
      "chosen": chat_cases.dicts([("assistant", f"<think>so</think>{i}")]),
      "rejected": chat_cases.dicts([("assistant", f"<think>no</think>{i}")]),
    }
    for i in range(12)
  ]
  _, (fault,) = found(write(rows), "equal_tokens", tokenizer=str(folder))
  assert fault.severity == "error"
  assert fault.what.endswith(
    "the chat template drops what differs, and no limit keeps it apart"
  )
