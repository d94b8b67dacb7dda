"""Gold rewards, the question's form, and the way a judge is named."""

import doctest
import math
import subprocess
import sys

import pytest

from offalign import judges
from offalign.endpoints import address, client
from offalign.errors import UserError
from offalign.judges import base
from offalign.judges.endpoint import prompt, rubric


def length(prompt, completion):
  """Rewards length, and the prompt's own words."""
  return len(completion) + 10 * (completion in prompt)


def nothing(prompt, completion):
  return math.nan if "bad" in completion else "x"


def gold(name="length", **options):
  more = "".join(f", {k}={v!r}" for k, v in options.items())
  return judges.make(f"gold(fn='{__name__}:{name}'{more})")


def test_gold_prefers_what_the_function_gives_more():
  said = gold().compare(
    ["p", "p", "yes?"], ["aa", "a", "yes"], ["b", "b", "no!"]
  )
  assert said.preferences.tolist() == [1.0, 0.5, 1.0]
  assert said.counts == {"ties": 1, "scored": 5}
  said = gold(tie=1).compare(["p"], ["aa"], ["b"])
  assert said.preferences.tolist() == [0.5]


def test_gold_sees_a_conversation_as_text():
  talk = (("system", "Be brief."), ("user", "yes or no"))
  said = gold().compare([talk], ["yes"], ["longer"])
  assert said.preferences.tolist() == [1.0]


@pytest.mark.parametrize(
  ("spec", "sentence"),
  [
    ("gold", "write it like gold"),
    ("gold(fn='no_such_module:f')", "cannot be had: No module named"),
    ("gold(fn='math:no')", "cannot be had: module 'math' has no"),
    ("gold(fn='math:pi')", "is no function"),
    ("gold(fn='.mine:f')", "fn is '.mine:f'; write it like gold"),
    (f"gold(fn='{__name__}:length', tie=-1)", "tie must be 0 or more"),
    ("golden", "no judge 'golden'; did you mean 'gold'"),
    ("reward_model", "needs a run"),
    ("gold(", "judge spec 'gold.' cannot be read: write it like"),
  ],
)
def test_mistakes_are_sentences(spec, sentence):
  with pytest.raises(UserError, match=sentence):
    judges.make(spec)


@pytest.mark.parametrize("text", ["bad", "fine"])
def test_a_reward_must_be_a_finite_number(text):
  with pytest.raises(UserError, match="it must return a finite number"):
    gold("nothing").compare(["p"], [text], ["y"])


def test_a_function_of_a_file(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "words.py").write_text("GOOD = 'yes'\n")
  file = tmp_path / "my_file.py"
  file.write_text(
    "import words\ndef score(prompt, text): return text.count(words.GOOD)\n"
  )
  for spec in (
    "my_file.py:score",
    "./my_file.py:score",
    "gold(fn='my_file.py:score')",
    f"gold(fn={f'{file}:score'!r}, tie=0.5)",
  ):
    judges.check(spec)
    made = judges.make(spec)
    assert made.compare(["p"], ["no"], ["yes"]).preferences.tolist() == [0.0]
    assert judges.make(made.spec) == made
  file.write_text("def score(prompt, text): return -text.count('yes')\n")
  made = judges.make("my_file.py:score")  # as a notebook's user expects
  assert made.compare(["p"], ["no"], ["yes"]).preferences.tolist() == [1.0]


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    ("def other(): pass", "has no attribute 'score'"),
    ("score = 3", "is no function, but 3"),
    ("def score(:", "running my_file.py raised SyntaxError"),
    ("1 / 0", r"raised ZeroDivisionError: .* \(my_file.py, line 1\)"),
    ("raise SystemExit(3)", "running my_file.py raised SystemExit: 3"),
  ],
)
def test_a_file_that_cannot_be_used(text, sentence, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "my_file.py").write_text(text + "\n")
  with pytest.raises(UserError, match=f"judge 'gold': .*{sentence}"):
    judges.make("my_file.py:score")


def test_a_function_that_raises_is_a_sentence(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "my_file.py").write_text("def score(p, c):\n  return c[9]\n")
  made = judges.make("my_file.py:score")
  with pytest.raises(UserError, match=r"IndexError.*line 2.*completion 'abc'"):
    made.compare(["p"], ["abc"], ["d"])


def test_scores_are_those_of_each_completion():
  said = gold().compare(["p", "q"], ["a", "bb"], ["ccc", "d"])
  assert said.scores.tolist() == [[1.0, 2.0], [3.0, 1.0]]


def test_a_spec_is_printed_as_it_is_read():
  for made in (gold(), gold(tie=0.5)):
    assert judges.make(made.spec) == made


def test_columns_of_other_lengths_are_refused():
  with pytest.raises(UserError, match="2 prompts, 1 first and 2 second"):
    gold().compare(["p", "q"], ["a"], ["b", "c"])


@pytest.mark.parametrize(
  ("answer", "verdict"),
  [
    ("A", "A"),
    ("b", "B"),
    (" **B**. ", "B"),
    ("C", "tie"),
    ("Tie", "tie"),
    ("Answer: [[A]]", "A"),
    ("The better response is: B", "B"),
    ("Response A is shorter.\n\nFinal answer: C\n", "tie"),
    ("response B", "B"),
    ("A good response would say more.", None),
    ("A or B", None),
    ("AB", None),
    ("I cannot compare them.", None),
    ("\n", None),
    ("A\nbut then again", None),
  ],
)
def test_answers_are_read_strictly(answer, verdict):
  assert prompt.read(answer) == verdict


def test_a_template_of_ones_own(tmp_path):
  file = tmp_path / "template.txt"
  file.write_text("Q {prompt} L {a} R {b} ?")
  filled = prompt.fill(prompt.load(str(file)), prompt="p", a="{b}", b="y")
  assert filled == "Q p L {b} R y ?"
  file.write_text("Q {prompt} L {a} R {a} ?")
  with pytest.raises(UserError, match=r"once each, not prompt, a, a$"):
    prompt.load(str(file))


@pytest.mark.parametrize("module", [address, base, client, prompt, rubric])
def test_the_docs_examples_hold(module):
  done = doctest.testmod(module)
  assert done.attempted
  assert not done.failed


def test_judging_files_needs_no_jax():
  code = "import sys, offalign.judge; sys.exit('jax' in sys.modules)"
  assert (
    subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
  )
