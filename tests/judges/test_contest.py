"""Files of completions against each other, from the command line too."""

import json

import pytest
import runs

from offalign import judges
from offalign.errors import UserError
from offalign.generation import completions
from offalign.generation.completions import Cuts
from offalign.judges import contest
from offalign.programs import judge as judge_lib

GOLD = f"gold(fn='{__name__}:earned')"


def earned(prompt, completion):
  """What a completion says that it is worth."""
  return float(completion.split()[0])


def write(path, values, prompts=None, words=1):
  prompts = prompts or [f"prompt {i}" for i in range(len(values))]
  lines = [
    completions.line(p, f"{x}" + " word" * words)
    for p, x in zip(prompts, values, strict=True)
  ]
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")
  return str(path)


@pytest.fixture
def files(tmp_path):
  return (
    write(tmp_path / "good.jsonl", [3, 3, 3, 1, 2, 3], words=5),
    write(tmp_path / "fair.jsonl", [2, 2, 2, 2, 2, 2]),
    write(tmp_path / "sft.jsonl", [1, 1, 1, 1, 1, 9]),
  )


def test_a_contest_of_three(files, tmp_path):
  good, fair, sft = files
  out = tmp_path / "out"
  duels = judge_lib.judge([good, fair], sft, GOLD, out)
  assert [(d.a, d.b) for d in duels] == [
    ("good", "sft"),
    ("fair", "sft"),
    ("good", "fair"),
  ]
  assert [d.found.rate for d in duels] == pytest.approx(
    [4.5 / 6, 5 / 6, 4.5 / 6]
  )
  record = json.loads((out / "winrates.json").read_text())
  table = record["matrix"]
  assert sorted(table) == ["fair", "good", "sft"]
  for a, row in table.items():
    for b, rate in row.items():
      assert rate + table[b][a] == 1
  assert record["judge"] == GOLD
  assert record["duels"][0]["counts"] == {
    "comparisons": 6,
    "ties": 1,
    "scored": 12,
  }
  assert record["duels"][0]["win_rate"]["fold_sd"] == duels[0].found.fold_sd
  report = (out / "winrates.md").read_text()
  assert "| good | sft | 0.750 [" in report
  assert "## Head to head" in report
  assert "| sft | 0.250 | 0.167 | – |" in report


def test_the_order_of_a_file_does_not_matter_and_repeats_meet(tmp_path):
  a = write(tmp_path / "a.jsonl", [1, 2, 3], ["x", "y", "x"])
  b = write(tmp_path / "b.jsonl", [0, 1, 9], ["y", "x", "x"])
  found = contest.duel(
    judges.make(GOLD), completions.read(a), completions.read(b)
  )
  # x: 1 against 1 and 3 against 9; y: 2 against 0.
  assert found.found.rate == (0.25 + 1) / 2
  assert found.found.prompts == 2


def test_what_has_no_verdict_is_said(files):
  class Silent:
    spec = "silent"

    def compare(self, prompts, a, b):
      said = [float("nan")] * len(prompts)
      return judges.Verdicts(said, {"ties": 0, "refused": len(said)})

  read = [completions.read(path) for path in files[:2]]
  duels = contest.contest(Silent(), read)
  assert duels[0].found is None
  report = contest.markdown(Silent(), duels)
  assert "6 refused of 6 comparisons have no verdict" in report
  assert contest.as_record(Silent(), duels)["duels"][0]["win_rate"] is None


@pytest.mark.parametrize(
  ("line", "sentence"),
  [
    ("{", "row 1 is not JSON"),
    ("[]", "row 1 does not hold a JSON object"),
    ('{"completion": "x"}', "row 1 has no 'prompt'"),
    ('{"prompt": [{"role": "user"}], "completion": "x"}', "no 'prompt' that"),
    ('{"prompt": "x", "completion": 3}', "row 1 has no 'completion'"),
  ],
)
def test_bad_rows_are_named(line, sentence, tmp_path):
  file = tmp_path / "a.jsonl"
  file.write_text(f"{completions.line('p', 'c')}\n{line}\n")
  with pytest.raises(UserError, match=sentence):
    completions.read(file)


def test_conversations_are_written_as_they_are_read(tmp_path):
  talk = (("user", "hi"), ("assistant", "hello"), ("user", "bye"))
  file = tmp_path / "a.jsonl"
  file.write_text(completions.line(talk, "ok", tokens=2) + "\n\n")
  assert completions.read(file).prompts == (talk,)
  assert completions.read_prompts(file) == (talk,)


def cut_file(path, values, finished, tokens=7):
  lines = [
    completions.line(f"prompt {i}", f"{x} word", tokens=tokens, finished=end)
    for i, (x, end) in enumerate(zip(values, finished, strict=True))
  ]
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")
  return str(path)


def test_completions_that_did_not_end_are_counted_for_both_sides(
  files, tmp_path, capsys
):
  _, _, sft = files
  values = [3, 3, 3, 1, 2, 3]
  some = cut_file(tmp_path / "some.jsonl", values, [False] * 2 + [True] * 4)
  done = cut_file(tmp_path / "done.jsonl", values, [True] * 6)
  given = [f"--a={some},{done}", f"--b={sft}", f"--judge={GOLD}"]
  out = tmp_path / "o"
  assert runs.judge_command(*given, f"--out={out}") == 0
  sentence = "some: 2 of 6 completions did not end within 7 tokens"
  said = capsys.readouterr().out
  assert said.count(sentence) == 1
  assert "\ndone:" not in said
  report = (out / "winrates.md").read_text()
  assert report.count(sentence) == 1
  assert "| some | 6 | 2 | 0 | 0 |" in report
  assert "| done | 6 | 0 | 0 | 0 |" in report
  assert "| sft | 6 | – | 6 | 0 |" in report
  duel = json.loads((out / "winrates.json").read_text())["duels"][0]
  assert duel["win_rate"]["unfinished"] == [pytest.approx(1 / 3), None]
  assert duel["cuts"] == [
    {
      "completions": 6,
      "unfinished": 2,
      "unknown": 0,
      "within": 7,
      "prompts": 0,
    },
    {
      "completions": 6,
      "unfinished": None,
      "unknown": 6,
      "within": None,
      "prompts": 0,
    },
  ]


def test_what_a_judge_did_not_read_is_said(files):
  class Cutting:
    spec = "cutting"

    def compare(self, prompts, a, b):
      counts = {"ties": 0, "cut_prompts": 1, "cut_completions": 2}
      return judges.Verdicts([1.0] * len(prompts), counts | {"cut_answers": 3})

  read = [completions.read(path) for path in files[:2]]
  report = contest.markdown(Cutting(), contest.contest(Cutting(), read))
  assert "the judge read 1 prompts and 2 completions only as far" in report
  assert "3 answers of the judge gave no verdict within its max" in report


def test_the_ends_of_completions_are_read_back(tmp_path):
  file = tmp_path / "a.jsonl"
  ends = (
    completions.End(True, 3),
    completions.End(False, 8, True),
    completions.End(),
  )
  lines = [completions.line("p", "c", **completions.about(x)) for x in ends]
  lines.append(completions.line("p", "c", finished="stop", tokens=True))
  file.write_text("\n".join(lines))
  assert completions.read(file).ends == (*ends, completions.End())
  found = completions.cuts(completions.read(file).ends, 4)
  assert found == completions.Cuts(4, 1, 2, 8, 1)
  said = found.sentences("a")
  assert "1 of 4 completions did not end within 8 tokens" in said[0]
  assert "2 of 4 completions it is not known" in said[1]
  assert "1 of 4 prompts were cut to their end" in said[2]
  file.write_text(completions.line("p", "c"))
  assert completions.read(file).ends == ()


def test_other_prompts_are_refused(files, tmp_path):
  other = write(tmp_path / "other.jsonl", [1] * 6, [f"p{i}" for i in range(6)])
  few = write(tmp_path / "few.jsonl", [1] * 5)
  for path, met in ((other, 0), (few, 5)):
    with pytest.raises(UserError, match=f"do not have the same.*{met} meet"):
      judge_lib.judge([path], files[0], GOLD, tmp_path / "out")
  with pytest.raises(UserError, match="of different names, not good, good"):
    judge_lib.judge([files[0]], files[0], GOLD, tmp_path / "out")


def test_the_command(files, tmp_path, capsys):
  good, fair, sft = files
  given = [f"--a={good},{fair}", f"--b={sft}", f"--judge={GOLD}"]
  assert runs.judge_command(*given, f"--out={tmp_path / 'o'}") == 0
  said = capsys.readouterr().out
  assert "good against sft: 0.750 [" in said
  assert (tmp_path / "o" / "winrates.md").exists()
  assert runs.judge_command(*given) == 2
  assert "--out is missing" in capsys.readouterr().err
  more = [f"--out={tmp_path / 'p'}", "--temperature=0"]
  assert runs.judge_command(*given, *more) == 2
  assert "--temperature is for run folders" in capsys.readouterr().err
  folder = [f"--a={tmp_path}", f"--b={sft}", f"--judge={GOLD}", more[0]]
  assert runs.judge_command(*folder) == 2
  assert "name the prompts that its policy" in capsys.readouterr().err


WHOLE = Cuts(8, 0, 0, None, 0)


def test_ties_of_equal_tokens_are_said():
  counts = {"comparisons": 8, "equal_tokens": 3}
  found = contest.Duel("a", "b", None, counts, (1.0, 1.0), (WHOLE, WHOLE))
  assert contest.warnings([found]) == [
    "a against b: 3 of 8 comparisons are ties because the judge's chat "
    "template or limits make the same tokens of two texts that differ."
  ]
  counts = {"comparisons": 8, "equal_tokens": 0}
  cuts = (WHOLE, WHOLE)
  found = contest.Duel("a", "b", None, counts, (1.0, 1.0), cuts)
  assert not contest.warnings([found])
