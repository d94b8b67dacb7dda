import chat_cases
import numpy as np
import pytest

from offalign import data
from offalign.audit import AuditConfig, audit
from offalign.audit.checks import tokens as tokens_lib
from offalign.audit.checks.tokens import Tokens
from offalign.data import Message
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import UserError

BPE = data.make_tokenizer("bpe", ["the cat sat, don't\n\n  sit"] * 5, 300)


def turns(*texts):
  roles = ("user", "assistant")
  return [
    {"role": roles[i % 2], "content": text} for i, text in enumerate(texts)
  ]


def test_what_the_limits_cut(put):
  lengths = [3, 8, 9, 20, 2]
  rows = [{"prompt": "x" * (2 * n), "completion": "y" * n} for n in lengths]
  report = audit(
    put(rows),
    AuditConfig(
      methods=False, tokenizer="byte", max_prompt=17, max_completion=9
    ),
  )
  tokens = report.tokens
  # Before a prompt of the byte tokenizer comes BOS, after a completion EOS.
  assert tokens.longest == [41, 21]
  assert (tokens.cut_prompts, tokens.cut_completions) == (2, 2)
  found = data.make_tokenizer("byte").encode_rows(
    [r["prompt"] for r in rows],
    [(i, r["completion"]) for i, r in enumerate(rows)],
    max_prompt=17,
    max_completion=9,
  )
  assert (found.cut_prompts, found.cut_completions) == (2, 2)
  cut = {f.kind: f for f in report.findings if f.kind.startswith("cut")}
  assert "2 of 5 completions (40.0%)" in cut["cut_completions"].what
  assert "all fit 21" in cut["cut_completions"].remedy
  assert report.status() == 1
  assert report.status("error") == 0


@pytest.mark.parametrize("held", [1, 3, 256])
def test_merges_across_the_boundary_are_counted_and_named(held, monkeypatch):
  monkeypatch.setattr(tokens_lib, "_HELD", held)
  cases = [("the c", "at"), ("the", " cat"), ("the cat", " sat"), ("th", "e")]
  expected = [
    not np.array_equal(
      BPE.encode([x + y])[0][: len(BPE.encode([x])[0])], BPE.encode([x])[0]
    )
    for x, y in cases
  ]
  assert 0 < sum(expected) < len(cases)
  tokens = Tokens(BPE, None, None)
  for i, (x, y) in enumerate(cases):
    tokens.add(x, y, f"row {i}")
  tokens.flush()
  assert tokens.boundaries.checked == len(cases)
  assert tokens.boundaries.across == sum(expected)
  (found,) = tokens.findings()
  assert found.kind == "merges"
  where = tuple(f"row {i}" for i, merged in enumerate(expected) if merged)
  assert found.where == where


def chatml(template=chat_cases.CHATML):
  return Tokenizer(
    chat_cases.backend("bytes", bos=False),
    {"eos_token": "</s>", "chat_template": template},
  )


def test_a_template_that_refuses_some_rows(put):
  refusing = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}" + chat_cases.CHATML
  )
  tokens = Tokens(chatml(refusing), None, None)
  good = (Message("user", "hello"),)
  bad = (Message("system", "be kind"), *good)
  for i, prompt in enumerate([good, bad, good, bad]):
    tokens.add(prompt, "yes", f"row {i}")
  tokens.flush()
  assert tokens.completions == 2
  (found,) = [f for f in tokens.findings() if f.kind == "template"]
  assert (found.severity, found.count) == ("error", 2)
  assert [w[:5] for w in found.where] == ["row 1", "row 3"]
  assert "no system role" in found.where[0]


def test_plain_text_and_a_tokenizer_with_a_template():
  tokens = Tokens(chatml(), None, None)
  tokens.add("hello", "yes", "row 0")
  tokens.flush()
  (found,) = [f for f in tokens.findings() if f.kind == "template_unused"]
  assert found.severity == "note"


def test_conversations_and_a_tokenizer_without_a_template(put, tmp_path):
  backend = chat_cases.backend("bytes", bos=False)
  tokenizer = Tokenizer(backend, {"eos_token": "</s>"})
  tokenizer.save(tmp_path / "tokenizer")
  rows = [{"messages": turns("a", "b")}, {"messages": turns("c", "d")}]
  report = audit(
    put(rows),
    AuditConfig(methods=False, tokenizer=str(tmp_path / "tokenizer")),
  )
  (found,) = [f for f in report.findings if f.severity == "error"]
  assert found.kind == "tokenizer"
  assert "chat template" in found.what
  assert report.status() == 1


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"max_prompt": 5}, "max_prompt=5 counts tokens: give tokenizer too"),
    ({"tokenizer": "byte", "max_completion": 0}, "at least 1"),
    ({"template_vars": "a=1"}, "give tokenizer too"),
    ({"tokenizer": "byte", "template_vars": "a=1"}, "has no chat template"),
    ({"tokenizer": "bpe"}, "name the tokenizer.json"),
    ({"tokenizer": "absent"}, "absent"),
    ({"form": "pears"}, "did you mean 'pairs'"),
    ({"int_labels": True}, "no column 'label'"),
  ],
)
def test_mistakes_in_what_is_asked(put, options, words):
  path = put([{"prompt": "p", "completion": "c"}])
  with pytest.raises(UserError, match=words):
    audit(path, AuditConfig(methods=False, **options))


def test_what_a_run_cuts_by_default_is_said(put):
  path = put([{"prompt": "p", "completion": "a" * 300}])
  report = audit(path, AuditConfig(methods=False, tokenizer="byte"))
  found = {f.kind: f for f in report.findings}
  note = found["default_cuts_completions"]
  assert note.severity == "note"
  assert "1 of 1 completions are longer than 256 tokens" in note.what
  assert "--cfg.data.max_completion" in note.remedy
  assert "default_cuts_prompts" not in found
  config = AuditConfig(methods=False, tokenizer="byte", max_completion=300)
  kinds = {f.kind for f in audit(path, config).findings}
  assert "cut_completions" in kinds
  assert "default_cuts_completions" not in kinds
