"""Rows that text tells apart and tokens do not: refused or warned of."""

import json

import chat_cases
import equal_texts
import pytest
import runs
from equal_texts import SHARED

from offalign import data, losses
from offalign.config.config import DataConfig
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import UserError, render
from offalign.training import equal_rows, inputs
from offalign.training.equal_rows import row_names

# Keeps what follows the reasoning alone, and no system message.
DROPS = (
  "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>user\n"
  "{{ m['content'] }}<|im_end|>{% elif m['role'] == 'assistant' %}"
  "<|im_start|>assistant\n{{ m['content'].split('</think>')[-1] }}<|im_end|>"
  "{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat(template=DROPS):
  return Tokenizer(
    chat_cases.backend("bytes", bos=False),
    {"eos_token": "</s>", "chat_template": template},
  )


def read(path, loss, tokenizer="byte", seed=0, **options):
  """The sentences of a run's data, and its training rows."""

  def made(texts):
    if tokenizer == "bpe":
      return data.make_tokenizer(tokenizer, texts, 300)
    return data.make_tokenizer("byte") if tokenizer == "byte" else tokenizer

  config = DataConfig(path=str(path), **options)
  return inputs.read(config, losses.get(loss), made, seed=seed)


def warnings(found):
  said = [str(s) for s in found.sentences if "warning: " in s]
  # What the limits of these tests do to the ends is not their subject.
  return [s for s in said if "no completion keeps its end" not in s]


def refusal(*args, **options):
  with pytest.raises(UserError) as error:
    read(*args, **options)
  return render(error.value)


def pairs(n=10, equal=10):
  return equal_texts.pairs(n, equal)


def rated(key, good, bad, n=10):
  return [
    {"prompt": f"question {i}", "completion": SHARED + text, key: value}
    for i in range(n)
    for text, value in ((f"yes {i}", good), (f"no {i}", bad))
  ]


def replies(n=8):
  """Pairs of one answer after two ways to think."""
  return [
    {
      "prompt": chat_cases.dicts([("user", f"question {i}")]),
      "chosen": chat_cases.dicts([("assistant", f"<think>so</think>{i}")]),
      "rejected": chat_cases.dicts([("assistant", f"<think>no</think>{i}")]),
    }
    for i in range(n)
  ]


def test_pairs_that_a_limit_makes_equal(write):
  path = write(pairs())
  said = refusal(path, "dpo", max_completion=20)
  first = ", ".join(f"row {i}" for i in range(10))
  assert said == (
    "10 of 10 pairs have a chosen and a rejected completion of the same tokens "
    f"({path}, {first}): data.max_completion=20 cuts off what differs, and "
    f"data.max_completion={len(SHARED) + 1} is the least that keeps it. "
    "Nothing is left to learn from; change the rows, the limit or the template"
  )
  # The limit that is named is right, and the one before it is not.
  least = len(SHARED) + 1
  assert not warnings(read(path, "dpo", max_completion=least))
  assert "10 of 10 pairs" in refusal(path, "dpo", max_completion=least - 1)


def test_blocks_of_rows_add_up(write, monkeypatch):
  path = write(pairs(14, equal=12))
  whole = warnings(read(path, "dpo", max_completion=20))
  monkeypatch.setattr(equal_rows, "_BLOCK", 3)
  assert warnings(read(path, "dpo", max_completion=20)) == whole


def test_some_pairs_that_remain(write):
  path = write(pairs(14, equal=12))
  (said,) = warnings(read(path, "dpo", max_completion=20))
  assert "data: warning: 12 of 14 pairs have a chosen and a rejected" in said
  assert "row 8, row 9, ...)" in said
  assert "row 10" not in said


@pytest.mark.parametrize("loss", ["orpo", "simpo", "bradley_terry", "rebel"])
def test_any_loss_on_pairs(loss, write):
  rows = [{**row, "margin": 1.0} for row in pairs()]  # for rebel
  assert "10 of 10 pairs" in refusal(write(rows), loss, max_completion=20)


@pytest.mark.parametrize("tokenizer", ["bpe", "byte"])
def test_tokenizers_of_our_own(tokenizer, write):
  said = refusal(write(pairs()), "dpo", tokenizer, max_completion=3)
  assert "10 of 10 pairs have a chosen and a rejected" in said


def test_labels(write):
  path = write(rated("label", True, False))
  said = refusal(path, "kto", max_completion=20)
  assert "10 of 10 token sequences have both labels, from texts that" in said
  assert f"({path}, rows 0 and 1, rows 2 and 3, rows 4 and 5," in said
  assert f"data.max_completion={len(SHARED) + 1} is the least" in said
  assert not warnings(read(path, "kto", max_completion=len(SHARED) + 1))


def test_labels_made_of_pairs(write):
  said = refusal(write(pairs()), "kto", max_completion=20)
  assert "10 of 10 token sequences have both labels" in said


@pytest.mark.parametrize("loss", ["dro_v", "una"])
def test_rewards(loss, write):
  path = write(rated("reward", 1.0, 0.25))
  said = refusal(path, loss, max_completion=20)
  assert "10 of 10 token sequences have different rewards" in said


def test_noise_of_the_texts_themselves_is_no_fault_of_the_tokens(write):
  rows = [
    {"prompt": f"question {i}", "completion": "yes", "label": label}
    for i in range(10)
    for label in (True, False)
  ]
  assert not warnings(read(write(rows), "kto", max_completion=20))


def test_a_loss_that_reads_no_feedback_is_not_told_of_it(write):
  path = write(rated("reward", 1.0, 0.25))
  found = read(path, "sft", max_completion=20, eval_fraction=0)
  assert not warnings(found)


def test_a_choice_among_equal_completions(write):
  path = write(rated("reward", 1.0, 0.25))
  options = {"best_of_n": 2, "eval_fraction": 0}
  (said,) = warnings(read(path, "sft", max_completion=20, **options))
  assert said.startswith(
    "selection: warning: 10 of 10 token sequences have different rewards"
  )
  assert not warnings(read(path, "sft", **options))


def test_pairs_that_a_run_is_judged_by(write):
  train = write(rated("reward", 1.0, 0.0), "train.jsonl")
  rows = [{**row, "prompt": f"b {row['prompt']}"} for row in pairs(6)]
  held = write(rows, "held.jsonl")
  given = {"eval_path": str(held), "max_completion": len(SHARED) - 1}
  rows = [
    {**row, "completion": row["completion"][-5:]} for row in runs.rows_of(train)
  ]
  found = read(write(rows, "train.jsonl"), "kto", **given)
  one, other = warnings(found)
  assert one.startswith("held out: warning: 6 of 6 token sequences have both")
  assert other.startswith("pairs to judge by: warning: 6 of 6 pairs have")


def test_groups(write):
  rows = rated("reward", 1.0, 0.0)
  said = refusal(write(rows), "rloo", max_completion=20)
  assert (
    "10 of 10 groups have completions that differ as text and not as tokens, "
    "10 of them one token sequence alone"
  ) in said
  for row in rows[::5]:
    row["completion"] = "something else"
  found = read(write(rows, "some.jsonl"), "rloo", max_completion=20)
  assert any("data: warning: 6 of 10 groups have" in s for s in warnings(found))


def test_groups_with_fewer_texts_than_before(write):
  rows = [
    {
      "prompt": f"question {i}",
      "completions": ["other", SHARED + "a", SHARED + "b"],
      "rewards": [0.5, 1.0, 0.0],
    }
    for i in range(10)
  ]
  found = read(write(rows), "rloo", max_completion=20)
  one, other = warnings(found)
  assert "10 of 10 groups have completions that differ as text" in one
  assert "alone" not in one
  assert "10 of 20 token sequences have different rewards" in other


def test_pairs_that_are_made_both_ways(write):
  rows = [
    {"prompt": "x" * i, "chosen": f"{a} {i}", "rejected": f"{b} {i + 1}"}
    for i in range(10)
    for a, b in (("yes, it is", "no, it is"), ("no, not", "yes, not"))
  ]
  (said,) = warnings(read(write(rows), "dpo", max_completion=3))
  assert "10 of 10 comparisons are made both ways, by texts that" in said
  assert "rows 0 and 1, rows 2 and 3" in said
  assert "data.max_completion=6 is the least that keeps it" in said


def test_a_template_that_drops_reasoning(write):
  path = write(replies())
  said = refusal(path, "dpo", chat())
  assert said.startswith(
    "8 of 8 rows have a reply of which the chat template drops text "
    f"({path}, row 0, row 1,"
  )
  assert "8 of 8 pairs have a chosen and a rejected" in said
  assert "the chat template drops what differs, and no limit keeps it" in said
  kept = read(path, "dpo", chat(chat_cases.CHATML))
  assert not warnings(kept)


def test_reasoning_that_sft_does_not_learn(write):
  rows = [
    {
      "messages": chat_cases.dicts(
        [("user", f"question {i}"), ("assistant", f"<think>so</think>{i}")]
      )
    }
    for i in range(12)
  ]
  (said,) = warnings(read(write(rows), "sft", chat()))
  assert "data: warning: 12 of 12 rows have a reply of which" in said


def test_a_system_message_that_is_dropped(write):
  rows = [
    {
      "prompt": chat_cases.dicts([("system", how), ("user", f"hello {i}")]),
      "completion": chat_cases.dicts([("assistant", "Good day.")]),
      "label": how == "Be polite.",
    }
    for i in range(10)
    for how in ("Be polite.", "Be rude.")
  ]
  path = write(rows)
  said = refusal(path, "kto", chat())
  assert "20 of 20 rows have a system message of which the chat" in said
  assert "10 of 10 token sequences have both labels" in said
  assert not warnings(read(path, "kto", chat(chat_cases.CHATML)))
  # A limit that cuts it off is said too.
  said = refusal(path, "kto", chat(chat_cases.CHATML), max_prompt=12)
  assert (
    "20 of 20 rows have a conversation that loses its system message, or the "
    "beginning of it, to data.max_prompt"
  ) in said
  assert (
    "data.max_prompt=12 cuts off what differs, and data.max_prompt=" in said
  )


def test_white_space_is_a_note(write):
  trim = chat_cases.CHATML.replace("m['content']", "m['content'] | trim")
  rows = [
    {
      "messages": chat_cases.dicts(
        [("user", f"question {i}"), ("assistant", f"{i}\n")]
      )
    }
    for i in range(12)
  ]
  found = read(write(rows), "sft", chat(trim))
  assert not warnings(found)
  (said,) = [s for s in found.sentences if "white space" in s]
  assert said.startswith("data: note: 12 of 12 rows have")


def test_held_out_rows_of_a_file_of_their_own(write):
  train = write(pairs(14, equal=2), "train.jsonl")
  held = write(
    [{**row, "prompt": f"held {i}"} for i, row in enumerate(pairs(6, 6))],
    "held.jsonl",
  )
  found = read(train, "dpo", eval_path=str(held), max_completion=20)
  one, other = warnings(found)
  assert "training: warning: 2 of 14 pairs have" in one
  assert "held out: warning: 6 of 6 pairs have" in other


def test_rows_of_a_mixture_are_named_by_their_files(write):
  a = write(pairs(6, 3), "a.jsonl")
  b = write(
    [{**row, "prompt": f"b {i}"} for i, row in enumerate(pairs(6, 1))],
    "b.jsonl",
  )
  found = read(f"{a}:1,{b}:1", "dpo", eval_fraction=0.3, max_completion=20)
  (said,) = warnings(found)
  assert "warning: 4 of 12 pairs have" in said
  assert f"({a}, row 0, row 1, row 2; {b}, row 0)" in said


def test_a_run_that_packs_is_refused_too(write, tmp_path):
  path = write(pairs())
  said = runs.refused(path, tmp_path / "out", loss="dpo", packing=True)
  assert "10 of 10 pairs" in said
  assert "--cfg.data.max_completion=8 cuts off what differs" in said


def test_tokens_that_tell_all_texts_apart_say_nothing(write):
  found = read(write(pairs()), "dpo")
  assert not warnings(found)
  assert not any("as text" in s for s in found.sentences)


def test_distinct_texts_are_counted_as_tokens(write):
  rows = [{**row, "prompt": f"{i} ago"} for i, row in enumerate(pairs(8, 0))]
  found = read(write(rows), "dpo", max_prompt=4, eval_fraction=0)
  said = [s for s in found.sentences if "distinct prompt" in s]
  assert said[-1].startswith("training: 1 distinct prompt (8 as text): tokens")


@pytest.mark.parametrize(
  ("rows", "said"),
  [
    ([(("a:3[0]", "a:3[1]"),)], "a, row 3"),
    ([(("a:3",), ("a:9",)), (("a:4",),)], "a, rows 3 and 9, row 4"),
    ([(("a:3",), ("b:9",)), (("b:4",),)], "a, row 3 and b, row 9; b, row 4"),
    ([(("a:1,a:2", "a:3", "a:4"),)], "a, rows 1 and 2 and 3 and more"),
  ],
)
def test_names_of_rows(rows, said):
  assert row_names(rows) == said


def test_the_cache_of_tokens_remembers_what_was_lost(write, tmp_path):
  rows = [json.loads(json.dumps(row)) for row in replies()]
  for row in rows[4:]:
    row["rejected"][0]["content"] = "something else"
  for _ in range(2):
    found = read(write(rows), "dpo", chat(), cache=str(tmp_path / "cache"))
    one, other = warnings(found)
    assert "8 of 8 rows have a reply" in one
    assert "4 of 8 pairs have" in other
