"""Judges that give each completion a number."""

import pytest

from offalign.errors import UserError
from offalign.judges import scorers


def test_a_function_scores_each_completion(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("def long(prompt, text):\n  return len(prompt + text)\n")
  score = scorers.make(f"{file}:long")
  asked = (("user", "hi"),)
  assert score([("a", "bc"), (asked, "")]).tolist() == [3, len("user: hi")]


def test_a_judge_that_only_compares_is_refused():
  spec = "endpoint(url='http://localhost:1', model='m')"
  with pytest.raises(UserError, match="gives none a score: name a function"):
    scorers.make(spec)
