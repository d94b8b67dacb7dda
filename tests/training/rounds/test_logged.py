"""Half of a round's samples are the completions of the log."""

import numpy as np
import pytest
import rounds
import runs

from offalign import load_data
from offalign.data import TokenRows
from offalign.data.text.ragged import Ragged
from offalign.errors import UserError
from offalign.training.rounds.kept import Kept
from offalign.training.rounds.logged import Logged
from offalign.training.rounds.prompts import Asked
from offalign.types import Kind


def tokens(*rows):
  return Ragged.of([np.array(row, np.int32) for row in rows])


def rows(of_prompt, completions, longest=3):
  """A log: completion i is of prompt of_prompt[i], which is that token."""
  n = len(of_prompt)
  return TokenRows(
    kind=Kind.SINGLE,
    prompts=tokens(*([i] for i in range(max(of_prompt) + 1))),
    completions=tokens(*completions),
    completion_prompt=np.array(of_prompt),
    prompt_index=np.array(of_prompt),
    completion_index=np.arange(n)[:, None],
    weight=np.ones(n, np.float32),
    sources=tuple((f"log:{i}",) for i in range(n)),
    pad_id=0,
    prompt_length=1,
    completion_length=longest,
    longest_completion=longest,
  )


def asked(*prompts, longest=3):
  made = tokens(*([p] for p in prompts))
  return Asked(tuple(map(str, prompts)), made, 2, (1, longest))


LOG = rows([0, 1, 1, 1], [[5, 9], [6], [7, 9], [8, 8, 9]])


def test_completions_are_those_of_the_prompt_and_none_comes_twice_in_vain():
  # The run's prompts are in another order than the log's.
  made = Logged.of(LOG, asked(1, 0), (9,))
  drawn = made.take(np.array([0, 1, 0]), np.arange(6) + 3)
  found = [row.tolist() for row in drawn.tokens]
  assert found[2] == found[3] == [5, 9]
  for first, second in (found[:2], found[4:]):
    assert first != second
    assert first in ([6], [7, 9], [8, 8, 9])
    assert second in ([6], [7, 9], [8, 8, 9])
  assert drawn.finished.tolist() == [row[-1] == 9 for row in found]
  assert np.isnan(drawn.logps).all()
  assert drawn.token_logps.lengths.tolist() == [len(row) for row in found]
  again = made.take(np.array([0, 1, 0]), np.arange(6) + 3)
  assert [row.tolist() for row in again.tokens] == found


def test_a_prompt_without_a_completion_and_a_longer_one_are_refused():
  with pytest.raises(UserError, match="1 prompt of 2 have no completion in"):
    Logged.of(LOG, asked(0, 2), (9,))
  with pytest.raises(UserError, match="less than the 3 tokens of the log's"):
    Logged.of(LOG, asked(0, 1, longest=2), (9,))


DATA = [
  {"prompt": f"p{i % 16}", "completion": "yes" if i < 16 else "oh, no"}
  for i in range(32)
]
GIVEN = {"prompts": None, "other": "log", "samples": 2, "max_new_tokens": 7}


@pytest.mark.parametrize(
  ("loss", "changes", "said"),
  [
    ("rebel(eta=1.0)", {"path": None}, "data.path is missing: name the log"),
    ("ppo", {}, "loss 'ppo' divides by the odds that"),
    ("grpo(behaviour=logged)", {}, "which are not known of a log"),
    ("rebel(eta=1.0)", {"keep": "all"}, "is set beside grow.keep=all: each"),
    ("rebel(eta=1.0)", {"prompts": ["a"]}, "is set beside grow.prompts="),
    ("rebel(eta=1.0)", {"path": "mixed"}, "is a mixture"),
    ("rebel(eta=1.0)", {"samples": 1}, "writes half of a prompt's"),
  ],
)
def test_what_a_log_cannot_give_is_refused(loss, changes, said, tmp_path):
  path = changes.get("path", DATA)
  if path == "mixed":
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file in files:
      runs.write(file, DATA)
    path = ",".join(f"{file}:0.5" for file in files)
  grow = GIVEN | {k: v for k, v in changes.items() if k != "path"}
  data = {} if path is None else {"path": path}
  assert said in rounds.refused(tmp_path, loss, grow=grow, data=data)


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_rebel_compares_its_samples_with_the_log(tmp_path):
  run = rounds.train(
    tmp_path / "run",
    "rebel(eta=1.0)",
    grow={**GIVEN, "rounds": 2},
    data={"path": DATA},
  )
  for number in (1, 2):
    lines = rounds.said(run.folder, number)
    assert len(lines) == 16
    for line in lines[1::2]:
      assert line["completion"] in ("yes", "oh, no")
      assert line["reward"] == 1.0
      assert "logprobs" not in line
    assert not {x["completion"] for x in lines[::2]} & {"yes", "oh, no"}
  of_both = Kept(run.folder).samples(2)
  own = of_both.scores[:, 0]
  line = rounds.of_rounds(run.folder)[1]
  assert line["objective/scores"] == pytest.approx(own.mean())
  assert line["episode"] == 16
  assert np.isfinite(line["objective/kl"])
  assert runs.metrics(run.folder)[-1]["eval_score"] > 0
  # A round is a log, as any other.
  path = run.folder / "rounds" / "2" / "samples.jsonl"
  assert len(load_data(path).records) == 16
